package mesos

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	criv1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"trireme/internal/agent/stream"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/agent"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// streamer is a runtime's streams: commands say their words and then what they read, in capitals,
// and end with status 3; containers say how large their terminal is, and what they read.
type streamer struct {
	runtime.Streams
	server streaming.Server
}

func (s streamer) Exec(_ context.Context, _ string, cmd []string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	fmt.Fprintf(out, "%q\n", cmd)
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	fmt.Fprint(out, strings.ToUpper(string(b)))
	return &utilexec.CodeExitError{Err: fmt.Errorf("status 3"), Code: 3}
}

func (s streamer) Attach(_ context.Context, _ string, in io.Reader, out, _ io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	if in == nil {
		fmt.Fprint(out, "said")
		return nil
	}
	said <- fmt.Sprint(<-resize)
	b, err := io.ReadAll(in)
	said <- string(b)
	return err
}

// said is what a container's own streams have taken in.
var said = make(chan string, 2)

func (s streamer) PortForward(context.Context, string, int32, io.ReadWriteCloser) error { return nil }

// execer makes URLs of the streaming server.
type execer struct {
	fakeNode
	s streamer
}

func (e *execer) Container(object.Key, string) (stream.Container, error) {
	return stream.Container{ID: "id", Running: true, TTY: true, Stdin: true}, nil
}

func (e *execer) Exec(_ context.Context, id string, o runtime.StreamOptions) (*url.URL, error) {
	r, err := e.s.server.GetExec(&criv1.ExecRequest{ContainerId: id, Cmd: o.Cmd, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY})
	if err != nil {
		return nil, err
	}
	return url.Parse(r.Url)
}

func (e *execer) Attach(_ context.Context, id string, o runtime.StreamOptions) (*url.URL, error) {
	r, err := e.s.server.GetAttach(&criv1.AttachRequest{ContainerId: id, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY})
	if err != nil {
		return nil, err
	}
	return url.Parse(r.Url)
}

func newExecer(t *testing.T, n fakeNode) *execer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := streaming.DefaultConfig
	cfg.BaseURL = &url.URL{Scheme: "http", Host: l.Addr().String()}
	e := &execer{fakeNode: n}
	if e.s.server, err = streaming.NewServer(cfg, streamer{}); err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: e.s.server}
	go func() { _ = web.Serve(l) }() // until it is closed
	t.Cleanup(func() { web.Close() })
	return e
}

// records is a body of calls, as attached inputs have them.
func records(t *testing.T, calls ...*agent.Call_AttachContainerInput) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	for _, in := range calls {
		record, err := codec.AppendRecord(nil, codec.Protobuf, &agent.Call{Type: agent.Call_ATTACH_CONTAINER_INPUT.Enum(), AttachContainerInput: in})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(record)
	}
	return &b
}

func data(text string) *agent.Call_AttachContainerInput {
	return &agent.Call_AttachContainerInput{Type: agent.Call_AttachContainerInput_PROCESS_IO.Enum(), ProcessIo: &agent.ProcessIO{
		Type: agent.ProcessIO_DATA.Enum(), Data: &agent.ProcessIO_Data{Type: agent.ProcessIO_Data_STDIN.Enum(), Data: []byte(text)},
	}}
}

func size(rows, columns uint32) *agent.Call_AttachContainerInput {
	return &agent.Call_AttachContainerInput{Type: agent.Call_AttachContainerInput_PROCESS_IO.Enum(), ProcessIo: &agent.ProcessIO{
		Type: agent.ProcessIO_CONTROL.Enum(), Control: &agent.ProcessIO_Control{
			Type: agent.ProcessIO_Control_TTY_INFO.Enum(), TtyInfo: &mesosv1.TTYInfo{WindowSize: &mesosv1.TTYInfo_WindowSize{Rows: &rows, Columns: &columns}},
		},
	}}
}

func containerID(value, parent string) *agent.Call_AttachContainerInput {
	id := &mesosv1.ContainerID{Value: proto.String(value)}
	if parent != "" {
		id.Parent = &mesosv1.ContainerID{Value: proto.String(parent)}
	}
	return &agent.Call_AttachContainerInput{Type: agent.Call_AttachContainerInput_CONTAINER_ID.Enum(), ContainerId: id}
}

// streamed posts a call as msh does, and returns the stream of its answer.
func streamed(t *testing.T, base string, body io.Reader, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer ann")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s, %v", resp.Status, b, err)
	}
	return resp
}

// output reads what a stream says until it ends or has said so much.
func output(t *testing.T, resp *http.Response, enough func(string) bool) string {
	t.Helper()
	if ct := resp.Header.Get("Content-Type"); ct != codec.RecordIO || resp.Header.Get("Message-Content-Type") != "application/x-protobuf" {
		t.Fatalf("the stream is %v", resp.Header)
	}
	out := ""
	for r := codec.NewReader(resp.Body, 1<<20); !enough(out); {
		b, err := r.Next()
		if err != nil {
			break
		}
		chunk := &agent.ProcessIO{}
		if err := proto.Unmarshal(b, chunk); err != nil {
			t.Fatal(err)
		}
		out += string(chunk.GetData().GetData())
	}
	return out
}

var asMsh = []string{"Content-Type", "application/json", "Accept", "application/x-protobuf", "Accept", "application/recordio", "Message-Accept", "application/x-protobuf"}

// TestSession: a command in a container is streamed, reads what is attached to it, and its end is
// told; its id is free again once it is removed.
func TestSession(t *testing.T) {
	base, _ := newServer(t)
	const id = `"container_id":{"value":"x","parent":{"value":"uid"}}`
	resp := streamed(t, base, strings.NewReader(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+id+`,"command":{"value":"echo $(hi)"}}}`), asMsh...)
	in := streamed(t, base, records(t, containerID("x", "uid"), data("hello"), data("")), "Content-Type", codec.RecordIO, "Message-Content-Type", "application/x-protobuf")
	if in.Header.Get("Content-Type") != "" {
		t.Errorf("an empty answer has the type %s", in.Header.Get("Content-Type"))
	}
	if got, want := output(t, resp, func(string) bool { return false }), "[\"/bin/sh\" \"-c\" \"echo $(hi)\"]\nHELLO"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	for _, tt := range []struct {
		call string
		code int
		has  string
	}{
		{`{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{` + id + `}}`, 200, `"exit_status":768`},
		{`{"type":"LAUNCH_NESTED_CONTAINER","launch_nested_container":{` + id + `,"command":{"value":"x"}}}`, 409, "another container_id"},
		{`{"type":"REMOVE_NESTED_CONTAINER","remove_nested_container":{` + id + `}}`, 200, ""},
		{`{"type":"LAUNCH_NESTED_CONTAINER","launch_nested_container":{` + id + `,"command":{"shell":false,"value":"/x","arguments":["x","-v"]}}}`, 200, ""},
		{`{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{` + id + `}}`, 200, `768`},
	} {
		if code, body := ask(t, "POST", base+"/api/v1", "ann", tt.call); code != tt.code || !strings.Contains(body, tt.has) {
			t.Errorf("%s: %d %s, want %d %s", tt.call, code, body, tt.code, tt.has)
		}
	}
}

// TestAttach: a container's own streams are had as msh -interactive has them: two requests, the
// one of input as records.
func TestAttach(t *testing.T) {
	base, _ := newServer(t)
	resp := streamed(t, base, strings.NewReader(`{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":{"value":"uid"}}}`), asMsh...)
	if got := output(t, resp, func(s string) bool { return s == "said" }); got != "said" {
		t.Errorf("it says %q", got)
	}
	streamed(t, base, records(t, containerID("uid", ""), size(24, 80), data("typed"), data("")), "Content-Type", codec.RecordIO, "Message-Content-Type", "application/x-protobuf")
	if size, text := <-said, <-said; size != "{80 24}" || text != "typed" {
		t.Errorf("the container has read %q, %q", size, text)
	}
}
