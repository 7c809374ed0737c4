package mesos

import (
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/protobuf/proto"

	"trireme/internal/agent/mesos/workdir"
	"trireme/internal/kind"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/agent"
)

// readMax bounds one answer with a file's content, in bytes (Mesos, files/files.cpp: 16 pages).
const readMax = 64 << 10

// open finds what a path names, if whoever asks may see it.
func (r *request) open(name string) (*workdir.Place, error) {
	if name == "" {
		return nil, kind.New(kind.Invalid, "Expecting 'path=value' in query.")
	}
	p, err := r.s.cfg.Sandboxes.Find(name)
	if err != nil {
		return nil, err
	}
	if err := r.must(Right{Verb: "get", Subresource: "log", Namespace: p.Namespace}); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// list returns what a folder holds.
func (r *request) list(name string) ([]*mesosv1.FileInfo, error) {
	p, err := r.open(name)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	entries, err := p.List()
	if err != nil {
		return nil, err
	}
	out := make([]*mesosv1.FileInfo, 0, len(entries))
	for _, st := range entries {
		out = append(out, info(path.Join(name, st.Name()), st))
	}
	return out, nil
}

func info(name string, st os.FileInfo) *mesosv1.FileInfo {
	nanos := st.ModTime().UnixNano()
	f := &mesosv1.FileInfo{Path: &name, Size: proto.Uint64(uint64(st.Size())), Mtime: &mesosv1.TimeInfo{Nanoseconds: &nanos}}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		f.Mode, f.Nlink = proto.Uint32(sys.Mode), proto.Int32(int32(sys.Nlink))
		f.Uid, f.Gid = proto.String(strconv.Itoa(int(sys.Uid))), proto.String(strconv.Itoa(int(sys.Gid)))
	}
	return f
}

func listFiles(r *request, c *agent.Call) (*agent.Response, error) {
	all, err := r.list(c.GetListFiles().GetPath())
	return &agent.Response{Type: agent.Response_LIST_FILES.Enum(), ListFiles: &agent.Response_ListFiles{FileInfos: all}}, err
}

func readFile(r *request, c *agent.Call) (*agent.Response, error) {
	q := c.GetReadFile()
	length := int64(-1)
	if q.Length != nil {
		length = int64(min(q.GetLength(), readMax))
	}
	b, size, err := r.read(q.GetPath(), int64(min(q.GetOffset(), 1<<62)), length)
	return &agent.Response{Type: agent.Response_READ_FILE.Enum(), ReadFile: &agent.Response_ReadFile{Size: proto.Uint64(uint64(size)), Data: b}}, err
}

// read returns a part of a file, and its size; length -1: as much as an answer holds.
func (r *request) read(name string, offset, length int64) ([]byte, int64, error) {
	p, err := r.open(name)
	if err != nil {
		return nil, 0, err
	}
	defer p.Close()
	f, err := p.File()
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if length < 0 || length > readMax {
		length = readMax
	}
	b, err := io.ReadAll(io.NewSectionReader(f, offset, length))
	return b, st.Size(), err
}

func browse(r *request) error {
	all, err := r.list(r.FormValue("path"))
	if err != nil {
		return err
	}
	out := []fields{}
	for _, f := range all {
		out = append(out, fields{
			"path": f.GetPath(), "size": f.GetSize(), "nlink": f.GetNlink(), "mtime": float64(f.GetMtime().GetNanoseconds()) / 1e9,
			"mode": os.FileMode(modeOf(f.GetMode())).String(), "uid": f.GetUid(), "gid": f.GetGid(),
		})
	}
	writeJSON(r.w, out)
	return nil
}

// modeOf returns the mode of stat(2) as Go has it, which prints as ls does but for its type.
func modeOf(m uint32) os.FileMode {
	mode := os.FileMode(m & 0o777)
	if m&syscall.S_IFMT == syscall.S_IFDIR {
		mode |= os.ModeDir
	}
	return mode
}

// read is /files/read: an offset of -1 asks for the size alone, in which data is empty.
func read(r *request) error {
	q := r.URL.Query()
	offset, length := int64(-1), int64(-1)
	for name, to := range map[string]*int64{"offset": &offset, "length": &length} {
		if text := q.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < -1 {
				return kind.New(kind.Invalid, "%s: %q is not a number from -1 on", name, text)
			}
			*to = n
		}
	}
	if offset < 0 {
		_, size, err := r.read(q.Get("path"), 0, 0)
		if err == nil {
			writeJSON(r.w, fields{"offset": size, "data": ""})
		}
		return err
	}
	b, _, err := r.read(q.Get("path"), offset, length)
	if err == nil {
		writeJSON(r.w, fields{"offset": offset, "data": strings.ToValidUTF8(string(b), "\uFFFD")})
	}
	return err
}

func download(r *request) error {
	p, err := r.open(r.FormValue("path"))
	if err != nil {
		return err
	}
	defer p.Close()
	f, err := p.File()
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	name := filepath.Base(r.FormValue("path"))
	r.w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	r.w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(r.w, r.Request, "", st.ModTime(), f)
	return nil
}

// debug names the sandboxes that may be looked at.
func debug(r *request) error {
	all, err := r.units()
	if err != nil {
		return err
	}
	out := fields{}
	for _, u := range all {
		out[u.dir] = u.dir
	}
	writeJSON(r.w, out)
	return nil
}
