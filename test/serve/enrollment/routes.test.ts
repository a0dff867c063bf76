import { describe, expect, test } from "bun:test";
import { checkEnrollment, ENROLLMENT_BODY_MAX } from "../../../src/serve/enrollment/routes.ts";
import type { RequestHead } from "../../../src/serve/http1.ts";

const PROOF = "a".repeat(128);

function head(method: string, target: string, fields: Record<string, string> = {}): RequestHead {
  const headers = new Map(Object.entries(fields).map(([name, value]) => [name, [value]]));
  return { method, target, minorVersion: 1, headers };
}

const enroll = (fields: Record<string, string> = {}) =>
  checkEnrollment(
    head("POST", "/enroll", {
      authorization: `Token ${PROOF}`,
      "content-length": "9",
      ...fields,
    }),
    true,
  );

describe("checkEnrollment()", () => {
  test.each(["/upload", "/", "/enroll/", "/enroll/x", "/Enroll", "/renew?x", "/__proto__"])(
    "%s is not its business",
    (target) => {
      expect(checkEnrollment(head("POST", target), true)).toBeUndefined();
      expect(checkEnrollment(head("POST", target), false)).toBeUndefined();
    },
  );

  test.each([
    ["GET", "/enroll/authority"],
    ["POST", "/enroll"],
    ["POST", "/renew"],
    ["DELETE", "/renew"],
  ])("%s %s is 404 when it is off", (method, target) => {
    expect(checkEnrollment(head(method, target), false)).toMatchObject({
      reply: { status: 404, close: true },
    });
  });

  test.each([
    ["POST", "/enroll/authority", "GET"],
    ["GET", "/enroll", "POST"],
    ["PUT", "/renew", "POST"],
  ])("%s %s is 405", (method, target, allowed) => {
    expect(checkEnrollment(head(method, target), true)).toMatchObject({
      reply: { status: 405, headers: [`Allow: ${allowed}`] },
    });
  });

  test("takes the proof, of enrolments only", () => {
    expect(enroll()).toMatchObject({
      ...{ operation: "enroll", proof: PROOF, keepAlive: false, expectsContinue: false },
      framing: { kind: "length", length: 9 },
    });
    expect(enroll({ authorization: `token ${PROOF}` })).toMatchObject({ proof: PROOF });
    const fields = { authorization: `Token ${PROOF}`, "content-length": "9" };
    expect(checkEnrollment(head("POST", "/renew", fields), true)).toMatchObject({ proof: "" });
  });

  test.each([
    "",
    "Token",
    `Basic ${PROOF}`,
    `Bearer ${PROOF}`,
    "Token short",
    `Token ${PROOF} x`,
    `Token ${PROOF}a`,
  ])("Authorization: %s is 400, before a body is read", (authorization) => {
    expect(enroll({ authorization })).toMatchObject({
      reason: "enroll-no-token",
      reply: { status: 400 },
    });
  });

  test("the size of a body is known before it is read, where the head says it", () => {
    expect(enroll({ "content-length": String(ENROLLMENT_BODY_MAX) })).toHaveProperty("framing");
    expect(enroll({ "content-length": String(ENROLLMENT_BODY_MAX + 1) })).toMatchObject({
      reply: { status: 413 },
    });
    const authority = head("GET", "/enroll/authority", { "content-length": "1" });
    expect(checkEnrollment(authority, true)).toMatchObject({ reply: { status: 413 } });
  });
});
