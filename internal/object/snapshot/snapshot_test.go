package snapshot_test

import (
	"encoding/json"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object/snapshot"
)

// TestDefinitions: the kinds are there, and what somebody else wrote is kept.
func TestDefinitions(t *testing.T) {
	all, err := snapshot.Definitions.Definitions()
	if err != nil || len(all) != 3 {
		t.Fatalf("%d definitions, %v", len(all), err)
	}
	for _, d := range all {
		if snapshot.Definitions.Keeps(d) {
			t.Errorf("%s, which we wrote, is kept as another's", d.Name)
		}
		stored, err := json.Marshal(d)
		again := &apiextensionsv1.CustomResourceDefinition{}
		if err != nil || json.Unmarshal(stored, again) != nil || snapshot.Definitions.Keeps(again) {
			t.Errorf("%s is another's after it was stored (%v)", d.Name, err)
		}
		theirs := d.DeepCopy()
		theirs.Spec.Names.ShortNames = append(theirs.Spec.Names.ShortNames, "theirs")
		if !snapshot.Definitions.Keeps(theirs) {
			t.Errorf("%s, which somebody changed, is not kept", d.Name)
		}
	}
}

// TestPlace: a handle names a node and something on it, and never another folder.
func TestPlace(t *testing.T) {
	for _, tc := range []struct {
		volume, handle string
		uid            types.UID
		want           string
	}{
		{volume: "n1/pvc-1", uid: "u", want: "n1 snapshot-u pvc-1"},
		{handle: "n1/snapshot-u", want: "n1 snapshot-u "},
		{volume: "n1/pvc-1", want: ""},
		{volume: "n1", uid: "u", want: ""},
		{volume: "n1/", uid: "u", want: ""},
		{volume: "n1/../etc", uid: "u", want: ""},
		{volume: "n1/pvc-1", uid: "../u", want: ""},
		{handle: "n1/..", want: ""},
		{handle: "n1/.snapshots", want: ""},
		{handle: "n1/a/b", want: ""},
		{handle: "/a", want: ""},
		{want: ""},
	} {
		c := &snapshotv1.VolumeSnapshotContent{}
		c.Spec.Driver, c.Spec.VolumeSnapshotRef.UID = snapshot.Driver, tc.uid
		if tc.volume != "" {
			c.Spec.Source.VolumeHandle = &tc.volume
		}
		if tc.handle != "" {
			c.Spec.Source.SnapshotHandle = &tc.handle
		}
		got := ""
		if node, name, volume, ok := snapshot.Place(c); ok {
			got = node + " " + name + " " + volume
		}
		if got != tc.want {
			t.Errorf("volume %q, handle %q, UID %q: %q, want %q", tc.volume, tc.handle, tc.uid, got, tc.want)
		}
		if c.Spec.Driver = "another"; tc.want != "" {
			if _, _, _, ok := snapshot.Place(c); ok {
				t.Errorf("%v is served for another driver", tc)
			}
		}
	}
}
