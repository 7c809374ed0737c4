package executor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/object/mesos"
)

// A record's first byte says what it is: the order as it came first; that the executor was
// given the task; an update (TaskStatus); the uuid of one that was acknowledged.
const (
	recordOrder    = 'O'
	recordLaunched = 'L'
	recordUpdate   = 'U'
	recordAcked    = 'A'
)

// recordMax bounds a record, in bytes: an update is no larger.
const recordMax = 4 << 20

// journal is the file of one task, to which it is only appended.
type journal struct {
	path string
	f    *os.File
}

// journalName returns what the file of a task is called.
func journalName(framework, task string) string {
	sum := sha256.Sum256([]byte(framework + "\x00" + task))
	return hex.EncodeToString(sum[:])
}

// newJournal begins the file of a task that has come.
func newJournal(dir string, o *mesos.Order) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of tasks: %w", err)
	}
	path := filepath.Join(dir, journalName(o.Namespace, o.Name))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{path, f}
	b, err := o.Marshal()
	if err == nil {
		err = j.append(recordOrder, b)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

// append writes a record, which is on the disk then.
func (j *journal) append(kind byte, data []byte) error {
	if _, err := codec.NewWriter(j.f).Write(append([]byte{kind}, data...)); err != nil {
		return fmt.Errorf("noting a task: %w", err)
	}
	return j.f.Sync()
}

func (j *journal) remove() error { return errors.Join(j.f.Close(), os.Remove(j.path)) }

// task is one task of an executor.
type task struct {
	order    *mesos.Order
	journal  *journal
	launched bool                  // the executor was given it, and has it
	given    bool                  // it was given it once, with all of its group
	killed   bool                  // and told to end it
	state    mesosv1.TaskState     // that it said last
	last     *mesosv1.TaskStatus   // the newest update; nil: there was none
	updates  []*mesosv1.TaskStatus // not acknowledged, oldest first
}

// over reports whether all that there is to say of the task is said.
func (t *task) over() bool { return mesos.Terminal(t.state) && len(t.updates) == 0 }

func (t *task) id() string { return t.order.Name }

// openTask reads what an agent before this one noted of a task. What a crash left half
// written at the end is cut off: nobody was told that it is safe.
func openTask(path string) (*task, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &task{state: mesosv1.TaskState_TASK_STAGING}
	from := bytes.NewReader(b)
	whole := int64(0)
	for r := codec.NewReader(from, recordMax); ; {
		record, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if err := t.replay(record[0], record[1:]); err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		whole += int64(len(fmt.Sprintf("%d\n", len(record))) + len(record))
	}
	if t.order == nil {
		return nil, os.Remove(path) // nobody was told of the task
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	t.journal = &journal{path, f}
	return t, f.Truncate(whole)
}

func (t *task) replay(kind byte, data []byte) error {
	switch kind {
	case recordOrder:
		t.order = &mesos.Order{}
		return t.order.Unmarshal(data)
	case recordLaunched:
		t.launched, t.given = true, true
	case recordUpdate:
		s := &mesosv1.TaskStatus{}
		if err := proto.Unmarshal(data, s); err != nil {
			return err
		}
		t.add(s)
	case recordAcked:
		t.acked(data)
	default:
		return fmt.Errorf("a record of an unknown kind %q", kind)
	}
	return nil
}

func (t *task) add(s *mesosv1.TaskStatus) {
	t.updates, t.last, t.state = append(t.updates, s), s, s.GetState()
}

// acked takes away the update of the uuid; false: there is none.
func (t *task) acked(uuid []byte) bool {
	for i, s := range t.updates {
		if bytes.Equal(s.GetUuid(), uuid) {
			t.updates = append(t.updates[:i:i], t.updates[i+1:]...)
			return true
		}
	}
	return false
}

// has reports whether an update of the uuid waits.
func (t *task) has(uuid []byte) bool {
	for _, s := range t.updates {
		if bytes.Equal(s.GetUuid(), uuid) {
			return true
		}
	}
	return false
}
