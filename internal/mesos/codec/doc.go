// Package codec turns Mesos v1 messages into bytes and back: JSON as Mesos maps
// it (which is not protojson's way), protobuf, RecordIO, and the HTTP rules that
// choose between them.
//
//   - AppendJSON, AppendStored and ParseJSON: one message.
//   - AppendRecord, Writer and Reader: RecordIO, a length in decimal digits, a
//     line feed, that many bytes.
//   - Decode, Accept, Write and Stream: a request's call, the form of the answer,
//     an answer, a stream of answers. What they refuse is a *Refusal with Mesos'
//     own status and words.
//
// The mapping, as stout/protobuf.hpp has it: keys are the names of the .proto
// file, unknown ones are ignored; null is unset, for repeated fields and their
// elements too; enums are name strings, and a name nobody knows is dropped from an
// optional field and an error in a required one; numbers may be numeric strings,
// doubles also "Infinity" and "-Infinity", bools also "true" and "false"; bytes
// are base64; maps are objects; a lone value is a repeated field of one. Printed
// are the fields that are set, in the order of declaration, and the optional ones
// that declare a default; 64-bit integers as numbers; everything that is not ASCII
// as \uXXXX, so that no client mistakes characters for bytes.
//
// Descriptors are walked once a message type, which has to be a generated one; all functions may be called by many
// at a time, a Writer, a Reader or a Stream by one.
package codec
