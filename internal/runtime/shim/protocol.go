package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"trireme/internal/kind"
)

// Op is what a request asks for.
type Op string

// The operations, what they need beside ID, and what they answer. Each answers
// one Response unless it says otherwise.
const (
	OpHello  Op = "hello"  // Version, Pid of the shim
	OpRun    Op = "run"    // starts the container; Pid
	OpSignal Op = "signal" // Signal
	OpDelete Op = "delete" // forgets it; what still runs is killed
	OpReopen Op = "reopen" // opens the log path anew
	OpResize Op = "resize" // Width, Height: of the container's terminal
	// OpExec runs Process in the container; its files are standard input, output
	// and error, none with TTY. It answers Pid, and with TTY the terminal's
	// descriptor; when the command has ended, Exited and Code. Closing the
	// connection kills the command.
	OpExec Op = "exec"
	// OpAttach copies the container's output to the files 1 and 2 and file 0 to
	// its input until it ends or the connection is closed; then it answers.
	OpAttach Op = "attach"
	// OpHold answers with the write end of a container's input, or its terminal, as
	// a file: while the driver holds it too, a killed shim ends neither. A file in
	// the request is the terminal that an earlier shim had.
	OpHold Op = "hold"
	// OpWatch answers at once, and then once for each container that ends, with
	// ID, until the connection is closed.
	OpWatch Op = "watch"
)

// Version is the protocol's; a shim of another version is replaced.
const Version = 1

// Request is one call.
type Request struct {
	Op      Op              `json:"op"`
	ID      string          `json:"id,omitempty"`
	Signal  int             `json:"signal,omitempty"`
	Process json.RawMessage `json:"process,omitempty"` // OCI: process
	TTY     bool            `json:"tty,omitempty"`
	Width   uint16          `json:"width,omitempty"`
	Height  uint16          `json:"height,omitempty"`
	// Streams says which files follow: 'i', 'o', 'e' in this order.
	Streams string `json:"streams,omitempty"`
}

// Response is one answer.
type Response struct {
	Kind    kind.Kind `json:"kind,omitempty"`
	Error   string    `json:"error,omitempty"`
	Version int       `json:"version,omitempty"`
	ID      string    `json:"id,omitempty"`
	Pid     int       `json:"pid,omitempty"`
	Exited  bool      `json:"exited,omitempty"`
	Code    int32     `json:"code,omitempty"`
}

func (r *Response) err() error {
	if r.Error == "" {
		return nil
	}
	return kind.New(r.Kind, "%s", r.Error)
}

const (
	lineMax  = 16 << 20 // bytes of a message; the environment of an exec is in it
	filesMax = 3
)

// wire is a connection that carries lines of JSON with files.
type wire struct {
	conn  *net.UnixConn
	rest  []byte // read, not yet asked for
	files []*os.File
}

func (w *wire) send(v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	b = append(b, '\n')
	n, _, err := w.conn.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		_, err = w.conn.Write(b[n:])
	}
	return err
}

// receive decodes the next line. Files that came with it are in w.files.
func (w *wire) receive(v any) error {
	for {
		if line, rest, ok := bytes.Cut(w.rest, []byte{'\n'}); ok {
			w.rest = rest
			return json.Unmarshal(line, v)
		}
		if len(w.rest) > lineMax {
			return kind.New(kind.TooLarge, "a message of more than %d bytes", lineMax)
		}
		if err := w.more(); err != nil {
			return err
		}
	}
}

func (w *wire) more() error {
	buf, oob := make([]byte, 16<<10), make([]byte, unix.CmsgSpace(4*filesMax))
	n, oobn, _, _, err := w.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return err
	}
	if oobn > 0 {
		files, err := filesOf(oob[:oobn])
		if err != nil {
			return err
		}
		w.files = append(w.files, files...)
	}
	if n == 0 {
		return io.EOF
	}
	w.rest = append(w.rest, buf[:n]...)
	return nil
}

func filesOf(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("reading file descriptors: %w", err)
	}
	var files []*os.File
	var errs []error
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		errs = append(errs, err)
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, errors.Join(errs...)
}

// take returns the files that came and leaves none.
func (w *wire) take() []*os.File {
	files := w.files
	w.files = nil
	return files
}

func (w *wire) close() {
	closeAll(w.take())
	w.conn.Close()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
