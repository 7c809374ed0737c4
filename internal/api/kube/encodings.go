package kube

import (
	"bytes"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"

	"trireme/internal/api/kube/view"
)

// encodings returns how events of a group version are encoded, by the media type that
// the library answers watches with (k8s.io/apiserver, endpoints/handlers,
// serveWatchHandler).
func encodings(c serializer.CodecFactory, gv schema.GroupVersion) map[string]view.Encode {
	out := map[string]view.Encode{}
	for _, info := range c.SupportedMediaTypes() {
		media := info.MediaType
		switch media {
		case runtime.ContentTypeJSON:
		case runtime.ContentTypeProtobuf:
			media += ";stream=watch"
		default:
			continue
		}
		inner, outer := c.EncoderForVersion(info.Serializer, gv), c.EncoderForVersion(info.StreamSerializer.Serializer, gv)
		framer := info.StreamSerializer.Framer
		out[media] = func(t watch.EventType, o runtime.Object) ([]byte, error) {
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
	}
	return out
}
