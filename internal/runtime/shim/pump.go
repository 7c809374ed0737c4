package shim

import (
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// chunkBytes is how much is read of a stream at once.
const chunkBytes = 32 << 10

// chunks are shared by all pumps: a stream that says nothing holds none.
var chunks = sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}

// slowMax is how long somebody who is attached may take to take a chunk: then
// the attachment ends, so that it does not hold up the container.
const slowMax = 10 * time.Second

// pump moves one stream of a container into its log and to whoever is attached.
type pump struct {
	from *os.File // non-blocking
	log  *logFile
	line lines
	done chan struct{} // closed when the stream has ended

	mu   sync.Mutex
	also []*os.File
}

func newPump(from *os.File, log *logFile, stream string) *pump {
	return &pump{from: from, log: log, line: lines{stream: stream}, done: make(chan struct{})}
}

// run moves bytes until every writer has closed the stream.
func (p *pump) run() {
	defer close(p.done)
	defer p.from.Close()
	raw, err := p.from.SyscallConn()
	if err != nil {
		return
	}
	for {
		var n int
		var end error
		chunk := chunks.Get().(*[]byte)
		buf := *chunk
		err := raw.Read(func(fd uintptr) bool {
			if buf == nil {
				chunk = chunks.Get().(*[]byte)
				buf = *chunk
			}
			if n, end = unix.Read(int(fd), buf); end != unix.EAGAIN {
				return true
			}
			chunks.Put(chunk) // for as long as we wait
			chunk, buf = nil, nil
			return false
		})
		if err == nil && end == nil && n > 0 {
			p.take(buf[:n])
		}
		if chunk != nil {
			chunks.Put(chunk)
		}
		// A terminal ends with EIO, a pipe with nothing.
		if err != nil || end != nil && end != unix.EINTR || end == nil && n <= 0 {
			p.log.write(p.line.end(time.Now()))
			p.detachAll()
			return
		}
	}
}

func (p *pump) take(b []byte) {
	p.log.write(p.line.add(b, time.Now()))
	p.mu.Lock()
	also := append([]*os.File(nil), p.also...)
	p.mu.Unlock()
	for _, f := range also {
		// Only what can be waited for has deadlines; others take bytes at once.
		_ = f.SetWriteDeadline(time.Now().Add(slowMax))
		if _, err := f.Write(b); err != nil {
			p.detach(f)
		}
	}
}

// attach copies what comes from now on to f, which the pump closes.
func (p *pump) attach(f *os.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		f.Close()
	default:
		p.also = append(p.also, f)
	}
}

func (p *pump) detach(f *os.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, a := range p.also {
		if a == f {
			p.also = append(p.also[:i:i], p.also[i+1:]...)
			f.Close()
			return
		}
	}
}

func (p *pump) detachAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	closeAll(p.also)
	p.also = nil
}

// copyIn copies from a client's file to a container's input until either ends.
func copyIn(to io.Writer, from *os.File) {
	_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
}
