package engine

import (
	"archive/tar"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"trireme/internal/api/docker/remote"
	"trireme/internal/api/docker/tarball"
	"trireme/internal/api/docker/view"
	"trireme/internal/kind"
)

var archiveRoutes = map[string]handler{
	"GET /containers/{id}/archive": readArchive, "HEAD /containers/{id}/archive": readArchive, "PUT /containers/{id}/archive": writeArchive,
	"GET /containers/{id}/changes": notKept, "GET /containers/{id}/export": exportContainer,
}

func notKept(c *call) (any, error) {
	return nil, kind.New(kind.Unsupported, "what a container has written besides its volumes is not told apart here: docker cp copies paths, docker export all of it")
}

// statHeader tells clients what a path is.
const statHeader = "X-Docker-Container-Path-Stat"

// readArchive sends a path of a container as an archive: the image's own tar makes it.
func readArchive(c *call) (any, error) {
	one, err := c.runningContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	asked := c.FormValue("path")
	if asked == "" {
		return nil, kind.New(kind.Malformed, "path: which one?")
	}
	dir, base := tarball.Split(asked)
	return c.packed(one, pack{asked: asked, base: base, command: []string{"tar", "-C", dir, "-cf", "-", "./" + base}, begin: func(first *tar.Header) error {
		info := first.FileInfo()
		stat, err := json.Marshal(container.PathStat{Name: path.Base(path.Clean("/" + asked)), Size: info.Size(), Mode: info.Mode(), Mtime: first.ModTime, LinkTarget: first.Linkname})
		c.Out.Header().Set(statHeader, base64.StdEncoding.EncodeToString(stat))
		return err
	}})
}

// packAll packs all that is in / but what the kernel shows: a tar may not know how to leave that out.
const packAll = `cd / || exit; set --; for f in .[!.]* *; do case "$f" in proc|sys|dev) ;; *) [ ! -e "$f" ] || set -- "$@" "./$f";; esac; done; exec tar -cf - "$@"`

// exportContainer sends all files of a container but those of its volumes.
func exportContainer(c *call) (any, error) {
	one, err := c.runningContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	p := pack{asked: "/", base: ".", command: []string{"sh", "-c", packAll}, begin: func(*tar.Header) error { return nil }}
	for _, m := range one.Summary(time.Now()).Mounts {
		p.without = append(p.without, strings.TrimPrefix(path.Clean("/"+m.Destination), "/"))
	}
	return c.packed(one, p)
}

// pack is what the image's own tar is to make an archive of.
type pack struct {
	asked, base string
	command     []string
	without     []string                      // what is in these is left out
	begin       func(first *tar.Header) error // before anything is sent
}

// packed sends an archive.
func (c *call) packed(one *view.Container, p pack) (any, error) {
	in, out := io.Pipe()
	said := &spoken{}
	at, cancel := c.cancellable()
	made := make(chan error, 1)
	go func() {
		code, err := at.runWith(one, p.command, remote.Options{Stdout: out, Stderr: said})
		err = tarred(one, p.asked, code, said, err)
		out.CloseWithError(err)
		made <- err
	}()
	defer func() {
		in.Close()
		cancel()
		<-made
	}()
	archive := tar.NewReader(in)
	first, err := archive.Next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = kind.New(kind.NotFound, "Could not find the file %s in container %s", p.asked, one.Name)
		}
		return nil, err
	}
	if err := p.begin(first); err != nil {
		return nil, err
	}
	c.Out.Header().Set("Content-Type", "application/x-tar")
	c.Out.WriteHeader(http.StatusOK)
	if c.Method == http.MethodHead {
		return Streamed, nil
	}
	if err := tarball.Below(c.Out, archive, first, p.base, p.without...); err != nil {
		c.door.log.Debug("sending an archive", "container", one.Name, "err", err)
		panic(http.ErrAbortHandler) // or the client would take what it has for all of it
	}
	return Streamed, nil
}

// cancellable returns the call with an end of its own.
func (c *call) cancellable() (*call, func()) { return c.within(1 << 62) }

// tarred says what a run of tar came to.
func tarred(one *view.Container, asked string, code int, said *spoken, err error) error {
	text := strings.TrimSpace(said.String())
	switch {
	case err != nil && (strings.Contains(err.Error(), "executable file not found") || strings.Contains(err.Error(), "no such file")):
		return kind.New(kind.Unsupported, "the image of %s has no tar, by which files are copied", one.Name)
	case err != nil:
		return err
	case code != 0 && strings.Contains(text, "No such file"):
		return kind.New(kind.NotFound, "Could not find the file %s in container %s: %s", asked, one.Name, text)
	case code != 0:
		return kind.New(kind.Malformed, "copying %s: tar says: %s", asked, text)
	}
	return nil
}

// writeArchive unpacks an archive in a folder of a container, by the image's own tar.
// Entries that would lead out of the folder are refused before anything of them is seen.
func writeArchive(c *call) (any, error) {
	one, err := c.runningContainer(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	asked := c.FormValue("path")
	if asked == "" {
		return nil, kind.New(kind.Malformed, "path: into which folder?")
	}
	archive, err := tarball.Unzipped(c.Raw)
	if err != nil {
		return nil, kind.New(kind.Malformed, "reading the archive: %v", err)
	}
	in, out := io.Pipe()
	at, cancel := c.cancellable()
	defer cancel()
	checked := make(chan error, 1)
	go func() {
		err := tarball.Check(out, tar.NewReader(archive), c.flag("copyUIDGID"))
		if err != nil {
			cancel() // what has been unpacked stays, as after any copy that broke off
		}
		out.CloseWithError(err)
		checked <- err
	}()
	said := &spoken{}
	code, err := at.runWith(one, []string{"tar", "-C", path.Clean("/" + asked), "-xf", "-"}, remote.Options{Stdin: in, Stdout: said, Stderr: said})
	in.Close()
	if bad := <-checked; bad != nil && !errors.Is(bad, io.ErrClosedPipe) {
		return nil, kind.New(kind.Malformed, "%v", bad)
	}
	if err := tarred(one, asked, code, said, err); err != nil {
		return nil, err
	}
	return Answer{http.StatusOK, nil}, nil
}
