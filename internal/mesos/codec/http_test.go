package codec

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"trireme/internal/kind"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/mesos/v1/scheduler"
)

func TestDecodeRefuses(t *testing.T) {
	const anyJSON = "application/json"
	for _, tt := range []struct {
		method, contentType, body string
		status                    int
		want                      string
	}{
		{"GET", "", "", 405, "Expecting one of { 'POST' }, but received 'GET'"},
		{"POST", "", "{}", 400, "Expecting 'Content-Type' to be present"},
		{"POST", "text/plain", "{}", 415, "Expecting 'Content-Type' of application/json or application/x-protobuf"},
		{"POST", anyJSON, "{", 400, "Failed to parse body into JSON: syntax error at byte 1: expecting a string"},
		{"POST", anyJSON, `{"type":3}`, 400, "Failed to convert JSON into Call protobuf: Not expecting a JSON number for field 'type'"},
		{"POST", "application/x-protobuf", "{", 400, "Failed to parse body into Call protobuf"},
		{"POST", anyJSON, `{"subscribe":{"framework_info":{"name":""}}}`, 400, "Failed to validate scheduler::Call: Not initialized: subscribe.framework_info.user"},
		{"POST", anyJSON, strings.Repeat(" ", 2000), 413, "Expecting a body of at most 1000 bytes: send several calls"},
	} {
		r := httptest.NewRequest(tt.method, "/api/v1/scheduler", strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.contentType)
		err := Decode(r, &scheduler.Call{}, 1000)
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Status != tt.status || refusal.Text != tt.want {
			t.Errorf("%s %s %.40q: %v, want %d %s", tt.method, tt.contentType, tt.body, err, tt.status, tt.want)
			continue
		}
		w := httptest.NewRecorder()
		refusal.Write(w)
		if w.Code != tt.status || w.Body.String() != tt.want || (tt.status == 405) != (w.Header().Get("Allow") == "POST") {
			t.Errorf("answered %d %s %v", w.Code, w.Body, w.Header())
		}
	}
}

func TestEveryKindIsRefused(t *testing.T) {
	for _, k := range kind.All() {
		if r := RefusalOf(fmt.Errorf("doing so: %w", kind.New(k, "not so"))); r.Status < 400 || r.Text != "doing so: not so" {
			t.Errorf("%s: %d %s", k, r.Status, r.Text)
		}
	}
	if r := RefusalOf(fmt.Errorf("x: %w", Refuse(409, "taken"))); r.Status != 409 || r.Text != "taken" {
		t.Errorf("a refusal: %+v", r)
	}
}

func TestDecode(t *testing.T) {
	want := &scheduler.Call{Type: scheduler.Call_REVIVE.Enum(), FrameworkId: &mesosv1.FrameworkID{Value: proto.String("f")}}
	for contentType, media := range map[string]Media{"application/json": JSON, "Application/JSON; charset=utf-8": JSON, "application/x-protobuf": Protobuf} {
		data, err := media.Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/", strings.NewReader(string(data)))
		r.Header.Set("Content-Type", contentType)
		got := &scheduler.Call{}
		if err := Decode(r, got, int64(len(data))); err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: %v, %v", contentType, got, err)
		}
	}
}

func TestAccept(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{nil, "application/json"},
		{[]string{"*/*"}, "application/json"},
		{[]string{"application/*"}, "application/json"},
		{[]string{"application/x-protobuf"}, "application/x-protobuf"},
		{[]string{"application/x-protobuf, application/json"}, "application/json"},
		{[]string{"application/x-protobuf", "application/recordio"}, "application/x-protobuf"},
		{[]string{"application/json;q=0, */*"}, "application/x-protobuf"},
		{[]string{"application/json; q=0.5"}, "application/json"},
		{[]string{"APPLICATION/JSON"}, "application/json"},
		{[]string{"text/html"}, ""},
		{[]string{""}, ""},
		{[]string{"*/*;q=0"}, ""},
	} {
		media, err := Accept(http.Header{"Accept": tt.lines}, "Accept")
		got := media.String()
		if err != nil {
			got = ""
			if err.Error() != "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'" {
				t.Errorf("%q: %v", tt.lines, err)
			}
		}
		if got != tt.want {
			t.Errorf("Accept %q gives %q, want %q", tt.lines, got, tt.want)
		}
	}
}

func TestWrite(t *testing.T) {
	long := &master.Response{Type: master.Response_READ_FILE.Enum(), ReadFile: &master.Response_ReadFile{Size: proto.Uint64(9000), Data: make([]byte, 9000)}}
	short := &master.Response{Type: master.Response_GET_HEALTH.Enum(), GetHealth: &master.Response_GetHealth{Healthy: proto.Bool(true)}}
	for _, tt := range []struct {
		m        *master.Response
		encoding string
		zipped   bool
	}{{long, "gzip, deflate", true}, {long, "", false}, {long, "gzip;q=0", false}, {long, "identity", false}, {short, "gzip", false}} {
		r := httptest.NewRequest("POST", "/", nil)
		if tt.encoding != "" {
			r.Header.Set("Accept-Encoding", tt.encoding)
		}
		w := httptest.NewRecorder()
		if err := Write(w, r, tt.m); err != nil {
			t.Fatal(err)
		}
		if zipped := w.Header().Get("Content-Encoding") == "gzip"; zipped != tt.zipped {
			t.Errorf("Accept-Encoding %q, type %s: compressed %t", tt.encoding, tt.m.GetType(), zipped)
		}
		body := io.Reader(w.Body)
		if tt.zipped {
			var err error
			if body, err = gzip.NewReader(w.Body); err != nil {
				t.Fatal(err)
			}
		}
		data, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		got := &master.Response{}
		if err := JSON.Parse(data, got); err != nil || !proto.Equal(got, tt.m) {
			t.Errorf("came back as %v, %v", got, err)
		}
	}
}

// TestStreamIsOneChunkARecord reads the raw bytes that net/http sends.
func TestStreamIsOneChunkARecord(t *testing.T) {
	counts := []int{1, 0, 40}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := Open(w, JSON, time.Minute)
		if err != nil {
			t.Error(err)
			return
		}
		for _, n := range counts {
			if err := s.Send(offers(n)); err != nil {
				t.Error(err)
			}
		}
	}))
	defer server.Close()
	raw := exchange(t, server.Listener.Addr().String())
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	if !strings.Contains(head, "Content-Type: application/json") || !strings.Contains(head, "Transfer-Encoding: chunked") {
		t.Errorf("headers: %s", head)
	}
	for _, n := range counts {
		record, err := AppendRecord(nil, JSON, offers(n))
		if err != nil {
			t.Fatal(err)
		}
		size, rest, _ := strings.Cut(body, "\r\n")
		if !strings.HasPrefix(rest, string(record)+"\r\n") {
			t.Fatalf("the chunk of %s bytes is not the record of %d offers, %d bytes", size, n, len(record))
		}
		body = rest[len(record)+2:]
	}
	if body != "0\r\n\r\n" {
		t.Errorf("then %q", body)
	}
}

// exchange sends a request and returns all that comes back.
func exchange(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
