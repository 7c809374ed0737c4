package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
)

// writes keeps what each Write was.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

func TestRecordIO(t *testing.T) {
	var out writes
	w := NewWriter(&out)
	for _, s := range []string{"a", "a\nb", strings.Repeat("x", 100_000)} {
		if _, err := w.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if len(out) != 3 || out[0] != "1\na" || out[1] != "3\na\nb" {
		t.Fatalf("wrote %.20q: want one write a record", out)
	}
	if _, err := w.Write(nil); err == nil {
		t.Error("an empty record was written")
	}
	r := NewReader(strings.NewReader(strings.Join(out, "")), 100_000)
	for _, want := range []int{1, 3, 100_000} {
		got, err := r.Next()
		if err != nil || len(got) != want {
			t.Fatalf("read %d bytes, %v: want %d", len(got), err, want)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

func TestRecordIORefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"3\nab", "reading a record: unexpected EOF"},
		{"3", "reading a record: unexpected EOF"},
		{"0\n", "reading a record: a length of nothing"},
		{"\n", "reading a record: a length of nothing"},
		{"-1\na", "reading a record: '-' in a length"},
		{"1 \na", "reading a record: ' ' in a length"},
		{"1001\n", "reading a record: a record of more than 1000 bytes"},
		{"18446744073709551615\n", "reading a record: a record of more than 1000 bytes"},
		{"000000000000000000001\na", "reading a record: a length of more than 20 digits"},
		{"{\"type\":", "reading a record: '{' in a length"},
	} {
		r := NewReader(strings.NewReader(tt.text), 1000)
		_, err := r.Next()
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		}
		if _, again := r.Next(); again != err {
			t.Errorf("%q: then %v, want the same error: there is no way on", tt.text, again)
		}
	}
	if _, err := NewReader(strings.NewReader("5\nab"), 1000).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a record cut off: %v", err)
	}
}

func TestAppendRecord(t *testing.T) {
	for _, media := range []Media{JSON, Protobuf} {
		var all []byte
		for n := range 12 {
			var err error
			if all, err = AppendRecord(all, media, offers(n)); err != nil {
				t.Fatal(err)
			}
		}
		r := NewReader(bytes.NewReader(all), 1<<20)
		for n := range 12 {
			data, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			event := &scheduler.Event{}
			if err := media.Parse(data, event); err != nil || len(event.GetOffers().GetOffers()) != n {
				t.Errorf("%s: a record of %d offers: %v", media, len(event.GetOffers().GetOffers()), err)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: after the last: %v", media, err)
		}
	}
}

func FuzzRecordIO(f *testing.F) {
	f.Add([]byte("1\na3\nabc"))
	f.Add([]byte("20\n{\"type\":\"HEARTBEAT\"}"))
	f.Add([]byte("00018\nx"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 16
		r := NewReader(bytes.NewReader(data), limit)
		var out bytes.Buffer
		w := NewWriter(&out)
		for {
			record, err := r.Next()
			if err != nil {
				break
			}
			if len(record) == 0 || len(record) > limit {
				t.Fatalf("a record of %d bytes", len(record))
			}
			w.Write(record)
		}
		// What was read is, less zeros before lengths, what stands there.
		if out.Len() > len(data) {
			t.Fatalf("%d bytes of records out of %d", out.Len(), len(data))
		}
	})
}

// offers is an event as a framework with several roles gets it.
func offers(n int) *scheduler.Event {
	scalar := func(name string, v float64) *mesosv1.Resource {
		return &mesosv1.Resource{Name: proto.String(name), Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: proto.Float64(v)},
			AllocationInfo: &mesosv1.Resource_AllocationInfo{Role: proto.String("web")}}
	}
	event := &scheduler.Event{Type: scheduler.Event_OFFERS.Enum(), Offers: &scheduler.Event_Offers{}}
	for i := range n {
		event.Offers.Offers = append(event.Offers.Offers, &mesosv1.Offer{
			Id:          &mesosv1.OfferID{Value: proto.String(fmt.Sprintf("8a1e5f0e-0001-O%d", i))},
			FrameworkId: &mesosv1.FrameworkID{Value: proto.String("8a1e5f0e-0001-0000")},
			AgentId:     &mesosv1.AgentID{Value: proto.String("8a1e5f0e-0001-S0")},
			Hostname:    proto.String("node-1"),
			Url: &mesosv1.URL{Scheme: proto.String("http"), Path: proto.String("/slave(1)"),
				Address: &mesosv1.Address{Hostname: proto.String("node-1"), Ip: proto.String("10.0.0.1"), Port: proto.Int32(5051)}},
			Resources: []*mesosv1.Resource{scalar("cpus", 15.5), scalar("mem", 63000), scalar("disk", 100000),
				{Name: proto.String("ports"), Type: mesosv1.Value_RANGES.Enum(), AllocationInfo: &mesosv1.Resource_AllocationInfo{Role: proto.String("web")},
					Ranges: &mesosv1.Value_Ranges{Range: []*mesosv1.Value_Range{{Begin: proto.Uint64(31000), End: proto.Uint64(32000)}}}}},
			Attributes:     []*mesosv1.Attribute{{Name: proto.String("rack"), Type: mesosv1.Value_TEXT.Enum(), Text: &mesosv1.Value_Text{Value: proto.String("r1")}}},
			AllocationInfo: &mesosv1.Resource_AllocationInfo{Role: proto.String("web")},
		})
	}
	return event
}

func BenchmarkOffers(b *testing.B) {
	for _, media := range []Media{JSON, Protobuf} {
		b.Run(media.String()[len("application/"):], func(b *testing.B) {
			event := offers(10)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if buf, err = AppendRecord(buf[:0], media, event); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

func BenchmarkParseAccept(b *testing.B) {
	task := &mesosv1.TaskInfo{Name: proto.String("sleep"), TaskId: &mesosv1.TaskID{Value: proto.String("task-1")}, AgentId: &mesosv1.AgentID{Value: proto.String("8a1e5f0e-0001-S0")},
		Resources: offers(1).Offers.Offers[0].Resources[:2], Command: &mesosv1.CommandInfo{Value: proto.String("sleep 60")}}
	call := &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), FrameworkId: &mesosv1.FrameworkID{Value: proto.String("8a1e5f0e-0001-0000")},
		Accept: &scheduler.Call_Accept{OfferIds: []*mesosv1.OfferID{{Value: proto.String("8a1e5f0e-0001-O1")}}, Operations: []*mesosv1.Offer_Operation{
			{Type: mesosv1.Offer_Operation_LAUNCH.Enum(), Launch: &mesosv1.Offer_Operation_Launch{TaskInfos: []*mesosv1.TaskInfo{task, task, task, task, task, task, task, task, task, task}}}}}}
	for _, media := range []Media{JSON, Protobuf} {
		data, err := media.Append(nil, call)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(media.String()[len("application/"):], func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if err := media.Parse(data, &scheduler.Call{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
