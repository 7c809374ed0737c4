package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// array is the folder that all machines share. Only the controller writes what it says
// of volumes and snapshots.
type array struct{ dir string }

// disk is a volume, or a snapshot of one.
type disk struct {
	ID    string // its name
	Size  int64
	Block bool
	Of    string // the volume that a snapshot is of
	Node  string // that a volume is attached to; empty: to none
}

const (
	volumes   = "volumes"
	snapshots = "snapshots"
)

func (a array) path(of, id, file string) string {
	return filepath.Join(a.dir, of, filepath.Base(id), file)
}

// data is the folder or the file that the disk is.
func (a array) data(of, id string) string { return a.path(of, id, "data") }

// get returns the disk of the name, nil where there is none.
func (a array) get(of, id string) (*disk, error) {
	b, err := os.ReadFile(a.path(of, id, "disk.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := &disk{}
	return d, json.Unmarshal(b, d)
}

func (a array) put(of string, d *disk) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.path(of, d.ID, ""), 0o755); err != nil {
		return err
	}
	file := a.path(of, d.ID, "disk.json")
	if err := os.WriteFile(file+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (a array) remove(of, id string) error { return os.RemoveAll(a.path(of, id, "")) }

// fill makes the data of a disk: that of another one or, where from is empty, nothing.
func (a array) fill(of string, d *disk, from string) error {
	to := a.data(of, d.ID)
	if err := os.RemoveAll(to); err != nil { // of a call that was cut short
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if !d.Block {
		if from != "" {
			return os.CopyFS(to, os.DirFS(from))
		}
		return os.Mkdir(to, 0o755)
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	if from != "" {
		src, err := os.Open(from)
		if err != nil {
			return err
		}
		defer src.Close()
		if _, err := io.Copy(f, src); err != nil {
			return err
		}
	}
	return f.Truncate(d.Size)
}
