package dispatch

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"trireme/internal/wire"
)

// FuzzReport: any bytes that an agent sends are a report or an error.
func FuzzReport(f *testing.F) {
	for _, r := range []*wire.Report{{}, {Pods: []*wire.PodState{{Namespace: "a", Name: "b", Status: []byte{10, 0}}}, Events: [][]byte{{10, 0}}}} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := &wire.Report{}
		if proto.Unmarshal(in, r) != nil {
			return
		}
		pods, events, err := (&session{node: "n"}).decode(r)
		if err == nil && (len(pods) != len(r.Pods) || len(events) != len(r.Events)) {
			t.Errorf("%d pods and %d events of %d and %d", len(pods), len(events), len(r.Pods), len(r.Events))
		}
	})
}
