package etcdlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"

	"trireme/internal/kind"
)

// Snapshot is a file that holds an etcd database: what `etcdctl snapshot save`
// wrote, of this cluster or of any Kubernetes control plane.
type Snapshot struct {
	Path string
	// Unchecked takes a database that was copied from a member's folder, which
	// ends without the sum that a saved snapshot has.
	Unchecked bool
}

// Restore makes the data of a new log in dir from a snapshot. It refuses a
// folder that holds data already; after an error dir is as it was.
func (s Snapshot) Restore(dir string, log *slog.Logger) error {
	if _, err := os.Stat(s.Path); err != nil {
		return fmt.Errorf("reading the snapshot: %w", err)
	}
	config := (&Log{cfg: Config{Dir: dir, Logger: log}}).config()
	if _, err := os.Stat(config.Dir); err == nil {
		return kind.New(kind.Exists, "%s holds data already: nothing is restored over it", config.Dir)
	}
	if err := s.long(); err != nil {
		return err
	}
	err := snapshot.NewV3(zapLogger(log, make(chan error, 1))).Restore(snapshot.RestoreConfig{
		SnapshotPath: s.Path, SkipHashCheck: s.Unchecked,
		Name: config.Name, OutputDataDir: config.Dir, PeerURLs: []string{config.AdvertisePeerUrls[0].String()},
		InitialCluster: config.InitialCluster, InitialClusterToken: config.InitialClusterToken,
	})
	if err == nil {
		return nil
	}
	err = kind.New(kind.Invalid, "restoring %s: %w", filepath.Base(s.Path), err)
	if gone := os.RemoveAll(config.Dir); gone != nil {
		return errors.Join(err, gone)
	}
	return err
}

// long refuses a database that ends before its last page: the library that reads
// it would end the process. The first page says how many there are (bbolt's file
// format: page header, magic, version, page size, flags, root bucket, free list,
// high water mark).
func (s Snapshot) long() error {
	f, err := os.Open(s.Path)
	if err != nil {
		return fmt.Errorf("reading the snapshot: %w", err)
	}
	defer f.Close()
	const magic = 0xED0CDAED
	var page [64]byte
	if _, err := f.ReadAt(page[:], 0); err != nil || binary.NativeEndian.Uint32(page[16:]) != magic {
		return kind.New(kind.Invalid, "%s is no etcd database: make one with `etcdctl snapshot save FILE`", s.Path)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if want := uint64(binary.NativeEndian.Uint32(page[24:])) * binary.NativeEndian.Uint64(page[56:]); uint64(info.Size()) < want {
		return kind.New(kind.Invalid, "%s is cut short: it has %d of at least %d bytes", s.Path, info.Size(), want)
	}
	return nil
}
