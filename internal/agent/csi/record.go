package csi

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object/claim"
)

// record is what is kept of a published volume: enough to take it away. The names
// are the kubelet's.
type record struct {
	Driver    string `json:"driverName"`
	Handle    string `json:"volumeHandle"`
	Name      string `json:"specVolID"`
	Lifecycle string `json:"volumeLifecycleMode"`   // lifecyclePersistent or lifecycleEphemeral
	Staging   string `json:"stagingPath,omitempty"` // as lies here; empty: it was not staged
	Attached  bool   `json:"attached,omitempty"`    // it has a VolumeAttachment
	Device    string `json:"device,omitempty"`      // where a block volume is published; empty: it is a file system
	// Size is how many bytes this node knows the volume to have; 0: nobody said.
	Size int64 `json:"size,omitempty"`
	// Done is false until the volume is all that its pod may expect, its group included.
	Done bool `json:"done,omitempty"`

	dir string // where it lies
}

const (
	lifecyclePersistent = "Persistent"
	lifecycleEphemeral  = "Ephemeral"

	recordFile = "vol_data.json"
	plugin     = "kubernetes.io~csi"
)

// volume names what calls wait for each other on.
func (r *record) volume() string { return r.Driver + "^" + r.Handle }

// target is where the driver publishes the volume.
func (r *record) target() string {
	if r.Device != "" {
		return r.Device
	}
	return filepath.Join(r.dir, "mount")
}

// published reports whether the volume is where it should be.
func (r *record) published() bool {
	if r.Device == "" {
		return mounted(r.target())
	}
	st, err := os.Stat(r.Device)
	return err == nil && st.Mode()&fs.ModeDevice != 0 && st.Mode()&fs.ModeCharDevice == 0
}

// devicesDir holds the kubelet's paths for block volumes.
func (d *Drivers) devicesDir() string {
	return filepath.Join(d.cfg.Home.Root, "plugins", "kubernetes.io", "csi", "volumeDevices")
}

func (d *Drivers) volumesDir(uid types.UID) string {
	return filepath.Join(d.cfg.Home.Root, "pods", string(uid), "volumes", plugin)
}

// staging is where a driver stages a volume, the kubelet's path.
func (d *Drivers) staging(r *record) string {
	if r.Device != "" {
		return filepath.Join(d.devicesDir(), "staging", r.Name)
	}
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(r.Handle)))
	return filepath.Join(d.cfg.Home.Root, "plugins", "kubernetes.io", "csi", r.Driver, hash, "globalmount")
}

func (r *record) save() error {
	if err := os.MkdirAll(r.dir, 0o750); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := filepath.Join(r.dir, recordFile+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(r.dir, recordFile))
}

// load reads what is kept in the directory; nil: nothing is.
func load(dir string) (*record, error) {
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &record{dir: dir}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(dir, recordFile), err)
	}
	return r, nil
}

// records returns what is kept of the pod's volumes; of every pod's with "*".
func (d *Drivers) records(uid types.UID) (out []*record, err error) {
	files, err := filepath.Glob(filepath.Join(d.volumesDir(uid), "*", recordFile))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		r, err := load(filepath.Dir(f))
		if err != nil {
			return nil, err
		}
		if r != nil {
			out = append(out, r)
		}
	}
	return out, nil
}

const everyPod types.UID = "*"

// InUse names the attached volumes that this node uses, as its status does: until it
// names one no more, the volume must not be detached.
func (d *Drivers) InUse() ([]corev1.UniqueVolumeName, error) {
	records, err := d.records(everyPod)
	if err != nil {
		return nil, err
	}
	seen, out := map[string]bool{}, []corev1.UniqueVolumeName(nil)
	for _, r := range records {
		if r.Attached && !seen[r.volume()] {
			seen[r.volume()] = true
			out = append(out, claim.UniqueName(r.Driver, r.Handle))
		}
	}
	return out, nil
}
