package plugin

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// Versions are the CNI versions that are spoken, newest last.
var Versions = []string{"1.0.0", "1.1.0"}

// Deadline bounds one call. The dataplane answers long before: it waits for a
// pod's address less than that.
const Deadline = 30 * time.Second

// restartMax is how long a call waits for an agent that does not listen.
const restartMax = 5 * time.Second

// Config is the part of the network configuration that matters here.
type Config struct {
	CNIVersion string       `json:"cniVersion"`
	Name       string       `json:"name"`
	Type       string       `json:"type"`
	Socket     string       `json:"socket"`
	Valid      []Attachment `json:"cni.dev/valid-attachments,omitempty"` // for GC
}

// Attachment is a container's interface that GC must keep.
type Attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// Request is one call of the plugin.
type Request struct {
	Command     string // ADD, DEL, CHECK, GC or STATUS
	ContainerID string
	NetNS       string
	IfName      string
	Args        string // "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"
	Config      Config
}

// Response is the answer: a result to print, which may be empty, or an error.
type Response struct {
	Result json.RawMessage `json:",omitempty"`
	Error  *Error          `json:",omitempty"`
}

// Error is CNI's error result.
type Error struct {
	CNIVersion string `json:"cniVersion,omitempty"`
	Code       int    `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`
}

// Error codes of the CNI specification, section "Error".
const (
	CodeInvalidEnvironment = 4
	CodeIO                 = 5
	CodeMalformed          = 6
	CodeTryAgain           = 11
	CodeUnavailable        = 50
	CodeInternal           = 100
)

// Main is the plugin: it reads the configuration from in, prints to out and
// returns the exit code.
func Main(env func(string) string, in io.Reader, out io.Writer) int {
	text, err := io.ReadAll(in)
	if err != nil {
		return fail(out, &Error{Code: CodeIO, Msg: "reading the configuration", Details: err.Error()})
	}
	r := Request{
		Command: env("CNI_COMMAND"), ContainerID: env("CNI_CONTAINERID"), NetNS: env("CNI_NETNS"),
		IfName: env("CNI_IFNAME"), Args: env("CNI_ARGS"),
	}
	if err := json.Unmarshal(text, &r.Config); err != nil {
		return fail(out, &Error{Code: CodeMalformed, Msg: "decoding the configuration", Details: err.Error()})
	}
	if r.Command == "VERSION" {
		print(out, map[string]any{"cniVersion": Versions[len(Versions)-1], "supportedVersions": Versions})
		return 0
	}
	answer, err := call(r)
	if err != nil && r.Command == "DEL" {
		return 0 // the link ends with the pod's namespace, and a restarted agent prunes
	}
	if err != nil {
		return fail(out, &Error{Code: CodeTryAgain, Msg: "asking the node's agent", Details: err.Error(), CNIVersion: r.Config.CNIVersion})
	}
	if answer.Error != nil {
		return fail(out, answer.Error)
	}
	if len(answer.Result) > 0 {
		fmt.Fprintln(out, string(answer.Result))
	}
	return 0
}

func call(r Request) (Response, error) {
	var answer Response
	c, err := dial(r)
	if err != nil {
		return answer, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(Deadline)); err != nil {
		return answer, err
	}
	if err := json.NewEncoder(c).Encode(r); err != nil {
		return answer, err
	}
	err = json.NewDecoder(c).Decode(&answer)
	return answer, err
}

// dial waits a little for an agent that is being restarted, except for DEL.
func dial(r Request) (net.Conn, error) {
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.DialTimeout("unix", r.Config.Socket, Deadline)
		if err == nil || r.Command == "DEL" || time.Since(start) > restartMax {
			return c, err
		}
	}
}

func fail(out io.Writer, e *Error) int {
	print(out, e)
	return 1
}

func print(out io.Writer, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte(`{"code":100,"msg":"encoding the answer"}`)
	}
	fmt.Fprintln(out, string(b))
}

// Error returns the message and the details.
func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + ": " + e.Details
}
