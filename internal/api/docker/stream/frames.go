// Package stream is the wire of docker's streams: frames that tell outputs apart, and
// connections that are taken over from HTTP (Docker Engine API, "Stream format" and
// "Hijacking").
//
// It is not for what is streamed (packages docker and remote). A Session ends with its
// context or its client; Close it, and nothing of it is left.
//
// How to debug: `curl -N --unix-socket ... | xxd` shows frames.
package stream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
)

// lineMax is the longest line that is sent in one piece, in bytes.
const lineMax = 64 << 10

// Frames sends outputs of many as one stream.
type Frames struct {
	Out    io.Writer
	Flush  func() error // nil: nothing is kept back
	Raw    bool         // there are no frames
	Stop   func()       // the reader has gone
	Wanted [3]bool      // by stream: what Copy sends
	Copied int          // bytes that Copy has sent, without headers
	Skip   int          // bytes that Copy does not send first

	mu sync.Mutex
}

// Copy sends lines, each of which says first which output it is of ("1 " or "2 "), until
// they end. Details are put where docker's clients look for them.
func (w *Frames) Copy(body io.Reader, details string, timed bool) {
	in := bufio.NewReaderSize(body, lineMax)
	output, begins := byte(1), true
	for {
		line, err := in.ReadSlice('\n')
		if begins && len(line) >= len(originOf1) {
			output, line = line[0]-'0', line[len(originOf1):]
		}
		if len(line) > 0 {
			ends := line[len(line)-1] == '\n'
			if int(output) < len(w.Wanted) && w.Wanted[output] {
				if part := w.unsent(detailed(line, details, timed, begins)); len(part) > 0 {
					w.Send(output, part)
				}
			}
			begins = ends
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return // its end, or the reader's
		}
	}
}

// originOf1 is what is before a line of the first output.
const originOf1 = "1 "

// unsent returns what of the bytes is to be sent, and counts it.
func (w *Frames) unsent(b []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	skipped := min(w.Skip, len(b))
	w.Skip -= skipped
	w.Copied += len(b) - skipped
	return b[skipped:]
}

// detailed puts the details where docker's clients look for them: before the text, after
// the time.
func detailed(line []byte, details string, timed, begins bool) []byte {
	if !begins || details == "" {
		return line
	}
	text := string(line)
	if at, rest, ok := strings.Cut(text, " "); timed && ok {
		return []byte(at + " " + details + rest)
	}
	return []byte(details + text)
}

// Send writes one frame at once.
func (w *Frames) Send(stream byte, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.Raw {
		header := [8]byte{0: stream}
		binary.BigEndian.PutUint32(header[4:], uint32(len(b)))
		b = append(header[:], b...)
	}
	_, err := w.Out.Write(b)
	if err == nil && w.Flush != nil {
		err = w.Flush()
	}
	if err != nil {
		w.Stop()
	}
}
