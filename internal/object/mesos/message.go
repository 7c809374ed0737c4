package mesos

import (
	"google.golang.org/protobuf/proto"

	"trireme/internal/mesos/codec"
)

// Message is a message of Mesos as a field of an object: its JSON is Mesos' own.
type Message[M proto.Message] struct{ M M }

// MarshalJSON returns Mesos' JSON of the message, null where there is none.
func (m Message[M]) MarshalJSON() ([]byte, error) {
	if !m.M.ProtoReflect().IsValid() {
		return []byte("null"), nil
	}
	return codec.AppendStored(nil, m.M), nil
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (m *Message[M]) UnmarshalJSON(b []byte) error {
	var none M
	if m.M = none; string(b) == "null" {
		return nil
	}
	out := none.ProtoReflect().Type().New().Interface().(M)
	if err := codec.ParseJSON(b, out); err != nil {
		return err
	}
	m.M = out
	return nil
}
