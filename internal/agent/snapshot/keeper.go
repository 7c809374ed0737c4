package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/claim"
	"trireme/internal/object/snapshot"
	"trireme/internal/wire"
)

// Config is what a Keeper needs, all of it.
type Config struct {
	Dir, Node string // the folder of the node's volumes, and the node's name
	// Contents and Volumes return what the node was told of.
	Contents func() []*snapshotv1.VolumeSnapshotContent
	Volumes  func() []*corev1.PersistentVolume
	// Report is told how all snapshots stand, where one changed. What it gets stays as it is.
	Report func(map[string]*wire.SnapshotState)
	// Made is called when a volume has been made, or removed again.
	Made func()
	Log  *slog.Logger
}

// retryEvery is how often what could not be made is tried again where nothing changes: a file
// system may be mounted meanwhile.
const retryEvery = 30 * time.Second

// Keeper makes and removes what a node is told of. Its methods may be called from any
// goroutine; Run is called once.
type Keeper struct {
	cfg    Config
	disk   disk
	wake   chan struct{}
	states map[string]*wire.SnapshotState // of Run alone; by content

	mu     sync.Mutex
	faults map[string]error // why volumes are not there, by name
}

// New returns a Keeper that does not run yet.
func New(cfg Config) *Keeper {
	return &Keeper{
		cfg: cfg, disk: disk{cfg.Dir, reflink}, wake: make(chan struct{}, 1),
		states: map[string]*wire.SnapshotState{}, faults: map[string]error{},
	}
}

// Wake has the Keeper look at what the node was told of.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Fault returns why a volume that is to be made of another, or of a snapshot, could not be;
// nil: it is there, or nothing went wrong yet.
func (k *Keeper) Fault(volume string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.faults[volume]
}

// Run makes and removes until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	if err := k.disk.clean(); err != nil {
		k.cfg.Log.Error("removing what was half made of snapshots", "err", err)
	}
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-k.wake:
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if again.Stop(); !k.pass(ctx) {
			again.Reset(retryEvery)
		}
	}
}

// pass takes everything one step further and reports whether nothing has to be tried again.
func (k *Keeper) pass(ctx context.Context) bool {
	settled, known := true, map[string]bool{}
	for _, c := range k.cfg.Contents() {
		known[c.Name] = true
		now, err := k.content(ctx, c)
		if ctx.Err() != nil {
			return true
		}
		if err != nil {
			now, settled = &wire.SnapshotState{Error: err.Error()}, false
		}
		if now != nil {
			now.Uid = string(c.UID)
			k.say(c.Name, now)
		}
	}
	maps.DeleteFunc(k.states, func(name string, _ *wire.SnapshotState) bool { return !known[name] })
	faults := map[string]error{}
	for _, v := range k.cfg.Volumes() {
		if err := k.volume(ctx, v); err != nil && ctx.Err() == nil {
			k.cfg.Log.Warn("making a volume", "volume", v.Name, "of", v.Annotations[claim.MadeOf], "err", err)
			faults[v.Name], settled = err, false
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = faults
	return settled
}

// say reports how a snapshot stands, if that is news.
func (k *Keeper) say(content string, now *wire.SnapshotState) {
	was := k.states[content]
	if proto.Equal(was, now) {
		return
	}
	if now.Error != "" {
		k.cfg.Log.Warn("keeping a snapshot", "content", content, "err", now.Error)
	}
	k.states[content] = now
	k.cfg.Report(maps.Clone(k.states))
}

// content takes a snapshot one step further; nil: there is nothing to be said of it.
func (k *Keeper) content(ctx context.Context, c *snapshotv1.VolumeSnapshotContent) (*wire.SnapshotState, error) {
	node, name, volume, ok := snapshot.Place(c)
	if !ok || node != k.cfg.Node {
		return nil, nil
	}
	if snapshot.Leaves(c) {
		if c.Spec.DeletionPolicy != snapshotv1.VolumeSnapshotContentDelete {
			return nil, nil
		}
		if err := k.disk.remove(name); err != nil {
			return nil, fmt.Errorf("removing snapshot %s: %w", name, err)
		}
		return &wire.SnapshotState{Removed: true}, nil
	}
	m, err := k.disk.snapshot(name)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading snapshot %s: %w", name, err)
	case volume == "" || snapshot.Ready(c):
		return nil, fmt.Errorf("snapshot %s is not on node %s: there is nothing at %s", name, node, k.disk.path(name))
	case c.DeletionTimestamp != nil:
		return nil, nil
	default:
		bytes, told := k.size(volume)
		if !told {
			return nil, fmt.Errorf("volume %s is not on node %s", volume, node)
		}
		if m, err = k.disk.take(ctx, volume, name, bytes); err != nil {
			return nil, err
		}
	}
	return &wire.SnapshotState{CreatedUnixNs: m.Created.UnixNano(), Bytes: m.Bytes}, nil
}

// size returns how large a volume on this node is to be.
func (k *Keeper) size(volume string) (bytes int64, ok bool) {
	for _, v := range k.cfg.Volumes() {
		if v.Name == volume && claim.LocalNode(v) == k.cfg.Node {
			return v.Spec.Capacity.Storage().Value(), true
		}
	}
	return 0, false
}

// volume makes a volume that is to be a copy and is not there. One that was to go while it
// was made goes again: who removes it has been there before it was.
func (k *Keeper) volume(ctx context.Context, v *corev1.PersistentVolume) error {
	kind, from, _ := strings.Cut(v.Annotations[claim.MadeOf], "/")
	if kind == "" || v.DeletionTimestamp != nil || claim.LocalNode(v) != k.cfg.Node {
		return nil
	}
	at := filepath.Join(k.cfg.Dir, v.Name)
	if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	switch kind {
	case "snapshot":
		err = k.disk.restore(ctx, from, v.Name)
	case "volume":
		err = k.disk.duplicate(ctx, from, v.Name)
	default:
		err = fmt.Errorf("annotation %s: this node makes volumes of snapshot/NAME and volume/NAME, not of %q", claim.MadeOf, v.Annotations[claim.MadeOf])
	}
	if err == nil && !k.wanted(v) {
		err = os.RemoveAll(at)
	}
	if err == nil {
		k.cfg.Made()
		k.Wake() // something else may wait for this one
	}
	return err
}

func (k *Keeper) wanted(v *corev1.PersistentVolume) bool {
	for _, now := range k.cfg.Volumes() {
		if now.UID == v.UID {
			return now.DeletionTimestamp == nil
		}
	}
	return false
}
