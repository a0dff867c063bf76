import { afterAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { sampleEntry } from "../support/export-stream.ts";
import { BodyRecorder, curl, JOURNAL_TYPE, portOf, startTestFront } from "../support/front.ts";
import { RevocationCheck } from "../../src/serve/revocation.ts";
import { X509Certificate } from "node:crypto";
import { TestPki } from "../support/tls.ts";
const orig = RevocationCheck.prototype.findProblem;
RevocationCheck.prototype.findProblem = function (leaf, now) { let c: any = leaf; const out = []; for (let i=0;i<6&&c?.raw;i++){ const x=new X509Certificate(c.raw); out.push(`${x.subject}<-${x.issuer}#${x.serialNumber.slice(0,6)}`); if (c.issuerCertificate===c){out.push("self");break;} c=c.issuerCertificate;} const r = orig.call(this, leaf, now); console.log("   chain:", out.join(" | "), "=>", r); return r; };
const pki = new TestPki();
afterAll(() => pki[Symbol.dispose]());
pki.addAuthority("below");
pki.openssl("req","-new","-key","below.key","-subj","/CN=Below below","-out","below.csr");
writeFileSync(pki.path("below.ext"), "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\n");
pki.openssl("ca","-config","ca.cnf","-batch","-notext","-in","below.csr","-out","below.pem","-days","9","-extfile","below.ext");
pki.issue("below-host", { authority: "below" });
pki.writeCrl({ authority: "below" });
pki.revoke("below");
pki.issue("leaver"); pki.revoke("leaver"); pki.issue("web1");
pki.writeCrl();
pki.openssl("req","-x509","-key","below.key","-subj","/CN=Below below","-days","9","-out","forged.pem");
pki.openssl("req","-x509","-newkey","ec","-pkeyopt","ec_paramgen_curve:P-256","-nodes","-keyout","twin.key","-out","twin.pem","-subj","/CN=Test Authority ca");
for (const f of ["index","index.attr","serial","crlnumber"]) writeFileSync(pki.path(`twin.${f}`), f==="serial"||f==="crlnumber"?"1000\n":"");
writeFileSync(pki.path("twin.cnf"), readFileSync(pki.path("ca.cnf"),"utf8").replaceAll("ca.","twin."));
pki.writeCrl({ authority: "twin" });
const cat = (out: string, ...files: string[]) => writeFileSync(pki.path(out), files.map((f)=>readFileSync(pki.path(f),"utf8")).join(""));
async function attempt(trust: string[], lists: string[], name: string, ...others: string[]) {
  cat("trust.pem", ...trust.map((t)=>`${t}.pem`));
  const certificates = { keyFile: pki.path("server.key"), certificateFile: pki.path("server.pem"),
    trust: { authority: pki.path("trust.pem"), crlFiles: lists.map((l)=>pki.path(`${l}.crl.pem`)), allowSubject: [] } };
  const front = await startTestFront(new BodyRecorder(), { https: ["127.0.0.1:0"], options: { certificates } });
  cat("chain.pem", `${name}.pem`, ...others.map((o)=>`${o}.pem`));
  writeFileSync(pki.path("chain.key"), readFileSync(pki.path(`${name}.key`)));
  writeFileSync(pki.path("entry"), sampleEntry(0));
  const url = `https://127.0.0.1:${portOf(front.addresses.https[0])}/upload`;
  const r = await curl(...pki.curlArgs("chain"), "-H", JOURNAL_TYPE, "--data-binary", `@${pki.path("entry")}`, url);
  await front.stop(0);
  return `${r.status} ${JSON.stringify(r)}`.slice(0,200);
}

pki.openssl("ca","-config","below.cnf","-batch","-notext","-selfsign","-in","below.csr","-keyfile","below.key","-out","old.pem","-startdate","20200101000000Z","-enddate","20210101000000Z","-extfile","below.ext");
pki.openssl("req","-x509","-key","below.key","-subj","/CN=Other","-days","9","-out","other.pem");
test("x", async () => {
  const both = ["ca","below"];
  for (const rest of [["below"],["forged","below"],["below","forged"],["old","below"],["below","old"],["below","ca"],["below","ca","forged"],["below","forged","ca"],["ca","below","forged"],["below","web1"],["web1","below"], ["below","below"], ["below-host","below"],["below","leaver","forged"]]) {
    console.log(rest.join("+"), await attempt(["ca"],both,"below-host",...rest));
  }
});
