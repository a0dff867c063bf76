/**
 * Which of the authorities that a receiver names a host is to trust: those it trusts already, and those that they vouch for.
 * A receiver has no key of an authority: whoever has taken one over could name an authority of its own, and keep the hosts
 * when it has lost the receiver.
 */
import type { Certificate } from "./certificate.ts";

/** @param offered authorities, and vouchers: certificates of their names and keys that others have signed */
export function vouchedAuthorities(
  offered: readonly Certificate[],
  trusted: readonly Certificate[],
  nowMs: number,
): Certificate[] {
  const isTrusted = ({ x509 }: Certificate): boolean =>
    trusted.some((each) => each.x509.raw.equals(x509.raw));
  const isOfTrusted = ({ x509 }: Certificate): boolean =>
    trusted.some((each) => x509.verify(each.x509.publicKey));
  const vouchers = offered.filter(
    (each) => isOfTrusted(each) && !isSelfSigned(each) && isValid(each, nowMs),
  );
  return offered.filter((each) => {
    if (isTrusted(each)) return true;
    // The same key may have a new certificate.
    if (isOfTrusted(each)) return isSelfSigned(each);
    return vouchers.some((voucher) => isFor(voucher, each));
  });
}

function isSelfSigned({ x509 }: Certificate): boolean {
  return x509.verify(x509.publicKey);
}

function isFor({ x509: voucher }: Certificate, { x509 }: Certificate): boolean {
  return voucher.subject === x509.subject && voucher.publicKey.equals(x509.publicKey);
}

function isValid({ facts }: Certificate, nowMs: number): boolean {
  return facts.notBeforeMs <= nowMs && nowMs < facts.notAfterMs;
}
