// The contract, and google.rpc's error details, loaded from their .proto files.
"use strict";

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const DETAILS_KEY = "grpc-status-details-bin";

// baseline: the contract's file; googleProtos: the folder that google/rpc lies in.
function load(baseline, googleProtos) {
  const files = [baseline, "google/rpc/status.proto", "google/rpc/error_details.proto"];
  const types = protoLoader.loadSync(files, {
    includeDirs: [googleProtos],
    keepCase: true,
    enums: String,
    longs: Number,
    defaults: true,
  });

  // The metadata that carries a status with details: {"ErrorInfo": {...}, ...}.
  function packStatus(code, message, details) {
    const packed = Object.entries(details).map(([name, detail]) => ({
      type_url: `type.googleapis.com/google.rpc.${name}`,
      value: types[`google.rpc.${name}`].serialize(detail),
    }));
    const metadata = new grpc.Metadata();
    const status = { code, message, details: packed };
    metadata.set(DETAILS_KEY, types["google.rpc.Status"].serialize(status));
    return metadata;
  }

  // The details in the metadata of an error, by the names of their types.
  function unpackStatus(metadata) {
    const details = {};
    for (const bytes of metadata.get(DETAILS_KEY)) {
      for (const { type_url, value } of types["google.rpc.Status"].deserialize(bytes).details) {
        const name = type_url.split(".").pop();
        details[name] = types[`google.rpc.${name}`].deserialize(value);
      }
    }
    return details;
  }

  const { UserService } = grpc.loadPackageDefinition(types).userservice.v1;
  return { UserService, packStatus, unpackStatus };
}

module.exports = { load };
