package store

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// protoPrefix marks a protobuf value in Kubernetes' etcd layout
// (k8s.io/apimachinery/pkg/runtime/serializer/protobuf).
var protoPrefix = []byte("k8s\x00")

type protoMessage interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
}

// encode returns o as it stands in the log: the protobuf envelope where the
// type has one, JSON otherwise, as Kubernetes stores custom resources. The
// metadata keeps its resourceVersion (see the package comment).
func encode(def *tableDef, o Object) []byte {
	apiVersion, kindName := def.gvk.ToAPIVersionAndKind()
	m, ok := o.(protoMessage)
	if !ok {
		var b []byte
		var err error
		if j, ok := o.(json.Marshaler); ok {
			b, err = j.MarshalJSON()
		} else {
			b, err = json.Marshal(o)
		}
		if err != nil {
			panic(fmt.Sprintf("store: encoding %s: %v", kindName, err))
		}
		return b
	}
	u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: kindName}}
	size := m.Size()
	total := len(protoPrefix) + u.Size() + size + 16
	buf := make([]byte, total)
	copy(buf, protoPrefix)
	n, err := u.NestedMarshalTo(buf[len(protoPrefix):], marshalTo{m}, uint64(size))
	if err != nil {
		panic(fmt.Sprintf("store: encoding %s: %v", kindName, err))
	}
	return buf[: len(protoPrefix)+n : len(protoPrefix)+n]
}

// normalize makes the object's TypeMeta what it will be once it is decoded: the
// protobuf envelope holds it beside the object, JSON inside. It is called before
// the object is anybody else's.
func normalize(def *tableDef, o Object) {
	if def.claims != nil {
		return // its objects name their own kinds
	}
	gvk := schema.GroupVersionKind{}
	if _, ok := o.(protoMessage); !ok {
		gvk = def.gvk
	}
	o.GetObjectKind().SetGroupVersionKind(gvk)
}

// marshalTo adapts a gogo message to runtime.ProtobufMarshaller.
type marshalTo struct{ protoMessage }

func (m marshalTo) MarshalTo(b []byte) (int, error) { return m.MarshalToSizedBuffer(b[:m.Size()]) }

// raw returns the object's protobuf encoding within a stored value, without a
// copy; nil where the value is not protobuf. The envelope is runtime.Unknown,
// whose second field holds it.
func raw(value []byte) []byte {
	rest, ok := bytes.CutPrefix(value, protoPrefix)
	for ok && len(rest) > 0 {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil
		}
		rest = rest[n:]
		if num == 2 && typ == protowire.BytesType {
			b, n := protowire.ConsumeBytes(rest)
			if n < 0 {
				return nil
			}
			return b
		}
		if n = protowire.ConsumeFieldValue(num, typ, rest); n < 0 {
			return nil
		}
		rest = rest[n:]
	}
	return nil
}

// decode is the inverse of encode. It accepts what a Kubernetes API server
// wrote for the stored version, protobuf or JSON.
func decode(def *tableDef, b []byte) (Object, error) {
	if def.older != nil {
		if o, is, err := def.older(b); is || err != nil {
			return o, err
		}
	}
	o := def.newObject()
	rest, isProto := bytes.CutPrefix(b, protoPrefix)
	if !isProto {
		if err := json.Unmarshal(b, o); err != nil {
			return nil, err
		}
		return o, nil
	}
	m, ok := o.(protoMessage)
	if !ok {
		return nil, fmt.Errorf("%s has no protobuf form", def.gvk.Kind)
	}
	var u runtime.Unknown
	if err := u.Unmarshal(rest); err != nil {
		return nil, err
	}
	if err := m.Unmarshal(u.Raw); err != nil {
		return nil, err
	}
	return o, nil
}
