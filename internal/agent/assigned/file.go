package assigned

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/wire"
)

// version is in the file's first byte; another one is not read. Batches follow,
// each with its length and checksum before it, the later ones being right where
// two name a row.
const version = 2

// row is one object in the file.
type row struct {
	Table string
	Key   object.Key
	Raw   []byte // empty: it is gone
}

// id names a row.
type id struct {
	table string
	key   object.Key
}

// file is what is known of the file. The zero value is a file that must be written
// as a whole.
type file struct {
	lacks       map[id]bool                     // rows that came, changed or went since
	kept        map[types.UID]*corev1.PodStatus // of pods, as taken in last
	whole, size int64                           // bytes: when it was last written as a whole, and now; 0: it was not
}

// appendedMax is how much longer than twice its first length the file may become.
const appendedMax = 1 << 20

// long reports whether the file is to be written as a whole.
func (f *file) long() bool { return f.whole == 0 || f.size > 2*f.whole+appendedMax }

// Save brings the file at path up to date; newest gives a pod's status as it is
// known now, another pointer where it is another status, or nil where the pod's own
// is the newest. A change costs what it changes: rows are appended, and the file is
// written as a whole when it has grown long. It is for one goroutine.
func (o *Objects) Save(path string, newest func(*corev1.Pod) *corev1.PodStatus) error {
	o.note(newest)
	rows, whole, err := o.unsaved()
	if err != nil || len(rows) == 0 && !whole {
		return err
	}
	batch, err := encode(rows)
	if err != nil {
		return err
	}
	if whole {
		batch = append([]byte{version}, batch...)
		err = replace(path, batch)
	} else {
		err = extend(path, batch)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil:
		o.file.whole = 0 // what it has now is not known
	case whole:
		o.file.whole, o.file.size = int64(len(batch)), int64(len(batch))
	default:
		o.file.size += int64(len(batch))
	}
	return err
}

// note takes the newest statuses in.
func (o *Objects) note(newest func(*corev1.Pod) *corev1.PodStatus) {
	o.mu.RLock()
	pods := maps.Clone(o.tables["pods"])
	o.mu.RUnlock()
	statuses := map[types.UID]*corev1.PodStatus{}
	for _, p := range pods {
		if s := newest(p.(*corev1.Pod)); s != nil {
			statuses[p.GetUID()] = s
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, p := range pods {
		if s := statuses[p.GetUID()]; s != nil && s != o.file.kept[p.GetUID()] {
			o.file.lack(id{"pods", key})
		}
	}
	o.file.kept = statuses
}

func (f *file) lack(row id) {
	if f.lacks == nil {
		f.lacks = map[id]bool{}
	}
	f.lacks[row] = true
}

// unsaved returns the rows that the file lacks, and whether these are all there are.
func (o *Objects) unsaved() (rows []row, whole bool, err error) {
	o.mu.Lock()
	lacks, count := o.file.lacks, 0
	for _, all := range o.tables {
		count += len(all)
	}
	o.file.lacks, whole = nil, o.file.long() || 2*len(lacks) > count
	if whole {
		lacks = make(map[id]bool, count)
		for table, all := range o.tables {
			for key := range all {
				lacks[id{table, key}] = true
			}
		}
	}
	messages := make(map[id]wire.Message, len(lacks))
	for i := range lacks {
		messages[i] = o.messageLocked(i)
	}
	o.mu.Unlock()
	for i, m := range messages {
		r := row{Table: i.table, Key: i.key}
		if m != nil {
			if r.Raw, err = m.Marshal(); err != nil {
				return nil, whole, fmt.Errorf("encoding %s %s: %w", i.table, i.key, err)
			}
		}
		rows = append(rows, r)
	}
	return rows, whole, nil
}

// messageLocked returns what is to be kept of a row; nil: it is gone.
func (o *Objects) messageLocked(i id) wire.Message {
	m, ok := o.tables[i.table][i.key].(wire.Message)
	if !ok {
		return nil
	}
	if pod, ok := m.(*corev1.Pod); ok && o.file.kept[pod.UID] != nil {
		newest := *pod
		newest.Status = *o.file.kept[pod.UID]
		return &newest
	}
	return m
}

const headerBytes = 8

func encode(rows []row) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, headerBytes))
	if err := gob.NewEncoder(b).Encode(rows); err != nil {
		return nil, err
	}
	out := b.Bytes()
	binary.BigEndian.PutUint32(out, uint32(len(out)-headerBytes))
	binary.BigEndian.PutUint32(out[4:], crc32.ChecksumIEEE(out[headerBytes:]))
	return out, nil
}

// decode returns the first batch of b and what follows it; false: there is none
// that is whole.
func decode(b []byte) (rows []row, rest []byte, ok bool) {
	if len(b) < headerBytes {
		return nil, nil, false
	}
	n, sum := int(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint32(b[4:])
	b = b[headerBytes:]
	if n > len(b) || crc32.ChecksumIEEE(b[:n]) != sum {
		return nil, nil, false
	}
	err := gob.NewDecoder(bytes.NewReader(b[:n])).Decode(&rows)
	return rows, b[n:], err == nil
}

func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := write(path+".new", os.O_CREATE|os.O_TRUNC, data); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func extend(path string, data []byte) error { return write(path, os.O_APPEND, data) }

func write(path string, how int, data []byte) error {
	f, err := os.OpenFile(path, how|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// Load reads what Save wrote; nil: there is nothing that can be read. A batch that
// did not reach the disk whole ends it: that was the last thing an agent did.
func Load(path string) ([]wire.Item, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || b[0] != version {
		return nil, nil
	}
	all := map[id]row{}
	for b = b[1:]; ; {
		rows, rest, ok := decode(b)
		if !ok {
			break
		}
		for _, r := range rows {
			all[id{r.Table, r.Key}] = r
		}
		b = rest
	}
	return items(slices.Collect(maps.Values(all)))
}

func items(rows []row) ([]wire.Item, error) {
	out := make([]wire.Item, 0, len(rows))
	for _, r := range rows {
		m := wire.NewMessage(r.Table)
		if m == nil || len(r.Raw) == 0 {
			continue
		}
		if err := m.Unmarshal(r.Raw); err != nil {
			return nil, fmt.Errorf("decoding %s %s: %w", r.Table, r.Key, err)
		}
		out = append(out, wire.Item{Table: r.Table, Key: r.Key, Object: m})
	}
	return out, nil
}
