package chunk

import (
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func pieces(end error, texts ...string) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(texts) == 0 {
			return nil, end
		}
		t := texts[0]
		texts = texts[1:]
		return []byte(t), nil
	}
}

func TestReader(t *testing.T) {
	closed := 0
	r := NewReader(pieces(io.EOF, "ab", "", "cde"), func() { closed++ })
	if err := iotest.TestReader(r, []byte("abcde")); err != nil {
		t.Error(err)
	}
	if r.Close(); closed != 1 {
		t.Errorf("closed %d times", closed)
	}
}

func TestReaderTellsWhatBrokeAfterTheRest(t *testing.T) {
	broken := errors.New("broken")
	b, err := io.ReadAll(NewReader(pieces(broken, "ab"), func() {}))
	if string(b) != "ab" || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", b, err)
	}
}
