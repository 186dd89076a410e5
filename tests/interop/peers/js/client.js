// A grpc-js client that calls every method of our server, and prints what came of it.
// test_peer_clients.py checks it. Arguments: the contract, Google's protos, the address of
// our server, that of our server that tells, and a domain that no user has yet.
"use strict";

const { once } = require("node:events");
const grpc = require("@grpc/grpc-js");
const { load } = require("./contract.js");

const [baseline, googleProtos, address, tellingAddress, domain] = process.argv.slice(2);
const { UserService, unpackStatus } = load(baseline, googleProtos);
const NOBODY = "00000000-0000-4000-8000-000000000000";

const users = connect(address);
const telling = connect(tellingAddress);

function connect(target) {
  return new UserService(target, grpc.credentials.createInsecure());
}

const within = (ms) => ({ deadline: Date.now() + ms });

// Calls a method with one request and one response.
function call(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, within(20_000), (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

async function failure(promise) {
  const error = await promise.then(() => ({}), (reason) => reason);
  const { ErrorInfo, ResourceInfo, BadRequest } = unpackStatus(error.metadata);
  return {
    code: error.code,
    message: error.details,
    reason: `${ErrorInfo.domain}/${ErrorInfo.reason}`,
    resource: ResourceInfo?.resource_name,
    fields: BadRequest?.field_violations.map((violation) => violation.field),
  };
}

const time = ({ seconds, nanos }) => [seconds, nanos];

function plain(user) {
  return { ...user, created_at: time(user.created_at), updated_at: time(user.updated_at) };
}

async function unary() {
  const create = { email: `Ann@${domain}`, name: "Änn ☂", password: "correct horse", role: "ROLE_ADMIN" };
  const created = await call(users, "CreateUser", create);
  const { id } = created;
  const got = await call(users, "GetUser", { id });
  const change = { id, name: "not masked", avatar: "http://new", update_mask: { paths: ["avatar"] } };
  const updated = await call(users, "UpdateUser", change);
  const taken = await failure(call(users, "CreateUser", create));
  const deleted = await call(users, "DeleteUser", { id });
  const missing = await failure(call(users, "GetUser", { id }));
  const invalid = await failure(call(users, "CreateUser", { email: "no email", role: 9 }));
  return {
    created: plain(created),
    got: plain(got),
    updated: plain(updated),
    deleted,
    taken,
    missing,
    invalid,
  };
}

async function list() {
  for (const number of [1, 2, 3, 4, 5]) {
    await call(users, "CreateUser", { email: `user${number}@list.${domain}`, name: `User ${number}` });
  }
  const request = { page_size: 2, filter: `email:"@list.${domain}"`, order_by: "name desc" };
  const pages = [];
  do {
    const page = await call(users, "ListUsers", request);
    pages.push([page.total_count, ...page.users.map((user) => user.name)]);
    request.page_token = page.next_page_token;
  } while (request.page_token);
  return pages;
}

// Reads a stream step by step, and to its end.
class Reader {
  constructor(stream) {
    this.stream = stream;
    const event = (name) => new Promise((resolve) => stream.once(name, resolve));
    this.metadata = event("metadata");
    this.status = event("status");
    stream.on("error", () => {}); // the status says what it is
    this.messages = stream[Symbol.asyncIterator]();
  }

  async next() {
    return (await this.messages.next()).value;
  }

  // The messages that are left, and the code at the end.
  async rest() {
    const messages = [];
    try {
      for await (const message of this.messages) messages.push(message);
    } catch {
      // The error once more.
    }
    const { code } = await this.status;
    return { messages, code };
  }
}

async function watch() {
  const { id } = await call(users, "CreateUser", { email: `watched@${domain}`, name: "Ann" });
  const reader = new Reader(users.WatchUser({ id }, within(20_000)));
  const events = [await reader.next()];
  await call(users, "UpdateUser", { id, name: "Anna" });
  events.push(await reader.next());
  await call(users, "DeleteUser", { id });
  const { messages, code } = await reader.rest();
  events.push(...messages);
  const nobody = await new Reader(users.WatchUser({ id: NOBODY }, within(20_000))).rest();
  return { events: events.map(({ type, user }) => [type, user.name]), code, nobody: nobody.code };
}

function batch() {
  return new Promise((resolve, reject) => {
    const stream = users.BatchCreateUsers(within(20_000), (error, response) =>
      error ? reject(error) : resolve(response),
    );
    for (let number = 0; number < 1000; number++) {
      stream.write({ email: `user${number}${number % 100 ? "@" : " at "}${domain}`, name: "Ann" });
    }
    stream.end();
  });
}

async function chat() {
  const toAnn = new Reader(users.Chat(within(20_000)));
  const toBen = new Reader(users.Chat(within(20_000)));
  await Promise.all([toAnn.metadata, toBen.metadata]);
  toAnn.stream.write({ sender_id: "ann", text: "Hello" });
  const heard = [await toAnn.next(), await toBen.next()];
  toAnn.stream.end();
  const ann = await toAnn.rest();
  toBen.stream.write({ sender_id: "ben", text: "Still here" });
  heard.push(await toBen.next());
  toBen.stream.end();
  const ben = await toBen.rest();
  return {
    heard: heard.map(({ sender_id, text }) => [sender_id, text]),
    left: ann.messages.length + ben.messages.length,
    codes: [ann.code, ben.code],
  };
}

async function endings() {
  const { id } = await call(telling, "CreateUser", { email: `ann@${domain}`, name: "Ann" });
  const late = new Reader(telling.WatchUser({ id }, within(500)));
  await late.next();
  const deadline = await late.rest();
  const left = new Reader(telling.WatchUser({ id }, within(20_000)));
  await left.next();
  left.stream.cancel();
  const cancelled = await left.rest();
  const unimplemented = await new Promise((resolve) => {
    const bytes = (value) => value;
    const path = "/userservice.v1.UserService/RenameUser";
    telling.makeUnaryRequest(path, bytes, bytes, Buffer.alloc(0), (error) => resolve(error.code));
  });
  return { id, deadline: deadline.code, cancelled: cancelled.code, unimplemented };
}

async function metadata() {
  const { id } = await call(telling, "CreateUser", { email: `meta@${domain}`, name: "Ann" });
  const sent = new grpc.Metadata();
  sent.add("echo-text", "one");
  sent.add("echo-text", "two");
  sent.add("echo-bin", Buffer.from([0, 255, 44, 32, 10]));
  const request = telling.GetUser({ id }, sent, within(20_000), () => {});
  const [[initial], [status]] = await Promise.all([once(request, "metadata"), once(request, "status")]);
  const echoed = (back) => ({
    text: back.get("echo-text"),
    bytes: back.get("echo-bin").map((value) => [...value]),
  });
  return {
    initial: echoed(initial),
    trailing: echoed(status.metadata),
    time_left: Number(status.metadata.get("time-left")[0]),
  };
}

async function main() {
  const found = {};
  for (const part of [unary, list, watch, batch, chat, endings, metadata]) {
    found[part.name] = await part();
  }
  console.log(JSON.stringify(found));
  users.close();
  telling.close();
}

main();
