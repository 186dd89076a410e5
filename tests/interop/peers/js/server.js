// A grpc-js server of the baseline contract, with its users in memory.
// peers/README.md says what it does. Arguments: the contract, and Google's protos.
"use strict";

const { randomUUID } = require("node:crypto");
const grpc = require("@grpc/grpc-js");
const { load } = require("./contract.js");

const { UserService, packStatus } = load(process.argv[2], process.argv[3]);

const users = new Map();
const watchers = new Map(); // from ids to sets of functions
const room = new Set();

const asked = (call, key) => call.metadata.get(key)[0];

function failure(code, message) {
  const details = {
    ErrorInfo: { reason: "PEER", domain: "peer.example" },
    ResourceInfo: { resource_name: message },
  };
  return { code, details: message, metadata: packStatus(code, message, details) };
}

function now() {
  const ms = Date.now();
  return { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1e6 };
}

function store({ email, name, role }) {
  const time = now();
  const user = { id: randomUUID(), email, name, role, created_at: time, updated_at: time };
  users.set(user.id, user);
  watchers.set(user.id, new Set());
  return user;
}

function publish(user, type) {
  for (const watcher of watchers.get(user.id)) watcher({ type, user, timestamp: now() });
}

// Each method answers once: reply(error), or reply(null, response); a stream with reply(null).
const methods = {
  GetUser(call, reply) {
    if (asked(call, "hang")) console.log("hanging");
    else find(call, reply, (user) => reply(null, user));
  },

  CreateUser(call, reply) {
    if (call.request.email) reply(null, store(call.request));
    else reply(failure(grpc.status.INVALID_ARGUMENT, "email is required"));
  },

  UpdateUser(call, reply) {
    find(call, reply, (user) => {
      const updated = { ...user, updated_at: now() };
      for (const path of call.request.update_mask.paths) updated[path] = call.request[path];
      users.set(user.id, updated);
      publish(updated, "EVENT_TYPE_UPDATED");
      reply(null, updated);
    });
  },

  DeleteUser(call, reply) {
    find(call, reply, (user) => {
      users.delete(user.id);
      publish(user, "EVENT_TYPE_DELETED");
      reply(null, {});
    });
  },

  ListUsers(call, reply) {
    const { filter, page_token, page_size } = call.request;
    const found = [...users.values()].filter((user) => user.email.endsWith(filter));
    found.sort((one, other) => (one.email < other.email ? -1 : 1));
    const start = Number(page_token);
    const end = start + page_size;
    reply(null, {
      users: found.slice(start, end),
      next_page_token: end < found.length ? String(end) : "",
      total_count: found.length,
    });
  },

  WatchUser(call, reply) {
    find(call, reply, (user) => {
      const watcher = (event) => {
        call.write(event);
        if (event.type === "EVENT_TYPE_DELETED") reply(null);
      };
      call.write({ type: "EVENT_TYPE_UPDATED", user });
      watchers.get(user.id).add(watcher);
      call.on("cancelled", () => watchers.get(user.id).delete(watcher));
    });
  },

  BatchCreateUsers(call, reply) {
    const response = { created_count: 0, failed_emails: [] };
    if (asked(call, "answer-early")) return reply(null, response);
    call.on("data", (request) => {
      if (request.email.includes("@")) {
        store(request);
        response.created_count += 1;
      } else {
        response.failed_emails.push(request.email);
      }
    });
    call.on("end", () => reply(null, response));
  },

  Chat(call, reply) {
    if (asked(call, "answer-early")) return reply(null);
    room.add(call);
    const leave = () => room.delete(call) && console.log("ended Chat");
    call.on("data", (message) => {
      for (const listener of room) listener.write({ ...message, timestamp: now() });
    });
    call.on("end", () => {
      leave();
      reply(null);
    });
    call.on("cancelled", leave);
  },
};

function find(call, reply, found) {
  const user = users.get(call.request.id);
  if (user) found(user);
  else reply(failure(grpc.status.NOT_FOUND, `there is no user ${call.request.id}`));
}

function echoes(call) {
  const back = new grpc.Metadata();
  for (const key of Object.keys(call.metadata.getMap())) {
    if (key.startsWith("echo-")) call.metadata.get(key).forEach((value) => back.add(key, value));
  }
  return back;
}

// Gives a method what every call does.
function peer(name, method) {
  return (call, callback) => {
    const trailing = echoes(call);
    const deadline = call.getDeadline();
    const left = Number.isFinite(Number(deadline)) ? (Number(deadline) - Date.now()) / 1000 : "none";
    trailing.set("time-left", String(left));

    let answered = false;
    const reply = (error, response) => {
      answered = true;
      if (error) error.metadata.merge(trailing);
      if (callback) callback(error, response, error ? undefined : trailing);
      else if (error) call.emit("error", error);
      else call.end(trailing);
    };
    call.on("cancelled", () => {
      if (!answered && name !== "Chat") console.log(`cancelled ${name}`);
    });

    const code = asked(call, "fail-with");
    if (code) return reply(failure(Number(code), "as asked: déjà vu, 50 % ☂"));
    call.sendMetadata(echoes(call));
    method(call, reply);
  };
}

const server = new grpc.Server();
const wrapped = Object.entries(methods).map(([name, method]) => [name, peer(name, method)]);
server.addService(UserService.service, Object.fromEntries(wrapped));
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`ready on 127.0.0.1:${port}`);
});
