package codec

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"

	"google.golang.org/protobuf/proto"
)

// lengthMax is the longest length a record begins with: the digits of 2^64-1, and
// the line feed.
const lengthMax = len("18446744073709551615\n")

// AppendRecord appends m, in the form of media, as one record.
func AppendRecord(to []byte, media Media, m proto.Message) ([]byte, error) {
	from := len(to)
	to = append(to, make([]byte, lengthMax)...)
	to, err := media.Append(to, m)
	if err != nil {
		return to[:from], err
	}
	// The length is known only now; what is left of the room for it is closed.
	data := to[from+lengthMax:]
	to = append(strconv.AppendInt(to[:from], int64(len(data)), 10), '\n')
	n := copy(to[len(to):len(to)+len(data)], data)
	return to[:len(to)+n], nil
}

// Writer writes records, each with one Write of what it writes to.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter returns a writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes data as one record; empty data is no record and an error.
func (w *Writer) Write(data []byte) (int, error) {
	if len(data) == 0 {
		return 0, errors.New("writing a record: a record has at least one byte")
	}
	w.buf = append(strconv.AppendInt(w.buf[:0], int64(len(data)), 10), '\n')
	w.buf = append(w.buf, data...)
	if _, err := w.w.Write(w.buf); err != nil {
		return 0, fmt.Errorf("writing a record: %w", err)
	}
	return len(data), nil
}

// Reader reads records. Nothing in the format tells where the next record begins,
// so after an error there is no way on: every call gives the same error again.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte
	err error
}

// NewReader returns a reader of r that refuses records of more than max bytes.
func NewReader(r io.Reader, max int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 4096), max: max}
}

// Next returns the next record, valid until the next call: io.EOF where the
// stream ends between two records, io.ErrUnexpectedEOF where within one.
func (r *Reader) Next() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	data, err := r.next()
	if err != nil && err != io.EOF {
		err = fmt.Errorf("reading a record: %w", err)
	}
	r.err = err
	return data, err
}

func (r *Reader) next() ([]byte, error) {
	length, err := r.length()
	if err != nil {
		return nil, err
	}
	// What the length says is not believed further than data comes.
	r.buf = r.buf[:0]
	for len(r.buf) < length {
		n := min(length-len(r.buf), 1<<16)
		from := len(r.buf)
		r.buf = append(r.buf, make([]byte, n)...)
		if _, err := io.ReadFull(r.r, r.buf[from:]); err != nil {
			return nil, unexpected(err)
		}
	}
	return r.buf, nil
}

// length reads decimal digits and a line feed.
func (r *Reader) length() (int, error) {
	n := 0
	for digits := 0; ; digits++ {
		c, err := r.r.ReadByte()
		switch {
		case err != nil && digits == 0:
			return 0, err
		case err != nil:
			return 0, unexpected(err)
		case c == '\n' && n > 0:
			return n, nil
		case c == '\n':
			return 0, errors.New("a length of nothing")
		case c < '0' || c > '9':
			return 0, fmt.Errorf("%q in a length", c)
		case digits == lengthMax-1:
			return 0, errors.New("a length of more than 20 digits")
		}
		if n = n*10 + int(c-'0'); n > r.max {
			return 0, fmt.Errorf("a record of more than %d bytes", r.max)
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
