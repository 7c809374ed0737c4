// Package chunk makes a reader of what arrives in pieces, as over gRPC.
package chunk

// Reader reads pieces one after the other.
type Reader struct {
	next  func() ([]byte, error)
	close func()
	rest  []byte
	err   error
}

// NewReader returns a reader of what next returns, until that is io.EOF or
// another error. Closing it calls close.
func NewReader(next func() ([]byte, error), close func()) *Reader {
	return &Reader{next: next, close: close}
}

// Read reads from the piece at hand, or waits for the next one.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.rest, r.err = r.next()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close lets go of the source.
func (r *Reader) Close() error {
	r.close()
	return nil
}
