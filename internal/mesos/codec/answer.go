package codec

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
)

// gzipMin is the shortest body that is worth compressing: Mesos' own threshold.
const gzipMin = 1024

// Write answers r with m, in the form that r accepts, compressed where it takes
// that. What it cannot answer it returns, and has then written nothing.
func Write(w http.ResponseWriter, r *http.Request, m proto.Message) error {
	media, err := Accept(r.Header, "Accept")
	if err != nil {
		return err
	}
	body, err := media.Append(nil, m)
	if err != nil {
		return err
	}
	WriteBody(w, r, media.String(), body)
	return nil
}

// WriteBody answers r with 200 and body, compressed where r takes that.
func WriteBody(w http.ResponseWriter, r *http.Request, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	if len(body) < gzipMin || r.Header.Get("Accept-Encoding") == "" || !acceptsGzip(r.Header) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	// The fastest level: bodies are large and lie on a local network.
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
	z.Write(body)
	z.Close()
}

func acceptsGzip(h http.Header) bool {
	return Accepts(h, "Accept-Encoding", "gzip") || Accepts(h, "Accept-Encoding", "*")
}

// Stream answers a request with records for as long as it lasts. Each is written
// by one Write and flushed, and so is one HTTP chunk: clients are known that take
// a chunk for a record.
type Stream struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	media    Media
	patience time.Duration
	buf      []byte
}

// Open begins a stream whose Content-Type is the messages' own. The headers go out
// at once; a record that the client does not take for as long as patience ends the
// stream, with an error of Send.
func Open(w http.ResponseWriter, media Media, patience time.Duration) (*Stream, error) {
	w.Header().Set("Content-Type", media.String())
	return open(w, media, patience)
}

// OpenRecordIO begins a stream as the agent's attach calls have it: of type
// application/recordio, the messages' type in Message-Content-Type.
func OpenRecordIO(w http.ResponseWriter, media Media, patience time.Duration) (*Stream, error) {
	w.Header().Set("Content-Type", RecordIO)
	w.Header().Set("Message-Content-Type", media.String())
	return open(w, media, patience)
}

func open(w http.ResponseWriter, media Media, patience time.Duration) (*Stream, error) {
	s := &Stream{w: w, control: http.NewResponseController(w), media: media, patience: patience}
	w.WriteHeader(http.StatusOK)
	if err := s.control.Flush(); err != nil {
		return nil, fmt.Errorf("beginning a stream: %w", err)
	}
	return s, nil
}

// Media returns the form of the stream's messages.
func (s *Stream) Media() Media { return s.media }

// Send sends one message.
func (s *Stream) Send(m proto.Message) error {
	record, err := AppendRecord(s.buf[:0], s.media, m)
	if err != nil {
		return err
	}
	s.buf = record
	return s.SendRecord(record)
}

// SendRecord sends a record that AppendRecord made in the stream's form: what many
// streams get is encoded once.
func (s *Stream) SendRecord(record []byte) error {
	if s.patience > 0 {
		// A writer that knows no deadlines (a test's) waits for ever instead.
		s.control.SetWriteDeadline(time.Now().Add(s.patience))
	}
	if _, err := s.w.Write(record); err != nil {
		return fmt.Errorf("sending a record: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("sending a record: %w", err)
	}
	return nil
}
