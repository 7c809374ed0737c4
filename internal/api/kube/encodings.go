package kube

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"

	"trireme/internal/api/kube/view"
)

// encodings returns how events of a group version are encoded, by the media type that
// the library answers watches with (k8s.io/apiserver, endpoints/handlers,
// serveWatchHandler). What is stored as clients read it is not decoded for them.
func encodings(c serializer.CodecFactory, gv schema.GroupVersion, stored schema.GroupVersionKind) map[string]view.Encoding {
	out := map[string]view.Encoding{}
	for _, info := range c.SupportedMediaTypes() {
		media := info.MediaType
		var asIs func(watch.EventType, []byte) []byte
		switch media {
		case runtime.ContentTypeJSON:
		case runtime.ContentTypeProtobuf:
			media += ";stream=watch"
			if gv == stored.GroupVersion() {
				asIs = storedEvent(stored)
			}
		default:
			continue
		}
		inner, outer := c.EncoderForVersion(info.Serializer, gv), c.EncoderForVersion(info.StreamSerializer.Serializer, gv)
		framer := info.StreamSerializer.Framer
		encode := func(t watch.EventType, o runtime.Object) ([]byte, error) {
			var object, event, framed bytes.Buffer
			if err := inner.Encode(o, &object); err != nil {
				return nil, err
			}
			if err := outer.Encode(&metav1.WatchEvent{Type: string(t), Object: runtime.RawExtension{Raw: object.Bytes()}}, &event); err != nil {
				return nil, err
			}
			if _, err := framer.NewFrameWriter(&framed).Write(event.Bytes()); err != nil {
				return nil, err
			}
			return framed.Bytes(), nil
		}
		out[media] = view.Encoding{Encode: encode, Stored: asIs}
	}
	return out
}

// storedEvent returns what frames an event of a stored object: its length, and a
// WatchEvent (k8s.io/apimachinery, apis/meta/v1) of a type and a RawExtension. A value
// that begins with another kind or version than the table's is left alone.
func storedEvent(kind schema.GroupVersionKind) func(watch.EventType, []byte) []byte {
	const (
		eventType   protowire.Number = 1
		eventObject protowire.Number = 2
		rawBytes    protowire.Number = 1 // of the RawExtension
	)
	apiVersion, name := kind.ToAPIVersionAndKind()
	begins, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: name}}).Marshal()
	if err != nil {
		panic(fmt.Sprintf("kube: encoding the name of %s: %v", name, err)) // two words
	}
	_, _, n := protowire.ConsumeField(begins) // the empty fields behind it are not the object's
	begins = append([]byte("k8s\x00"), begins[:n]...)
	return func(t watch.EventType, value []byte) []byte {
		if !bytes.HasPrefix(value, begins) {
			return nil
		}
		object := protowire.SizeTag(rawBytes) + protowire.SizeBytes(len(value))
		event := protowire.SizeTag(eventType) + protowire.SizeBytes(len(t)) + protowire.SizeTag(eventObject) + protowire.SizeBytes(object)
		b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+event), uint32(event))
		b = protowire.AppendString(protowire.AppendTag(b, eventType, protowire.BytesType), string(t))
		b = protowire.AppendVarint(protowire.AppendTag(b, eventObject, protowire.BytesType), uint64(object))
		return protowire.AppendBytes(protowire.AppendTag(b, rawBytes, protowire.BytesType), value)
	}
}
