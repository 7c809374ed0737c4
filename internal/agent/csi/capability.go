package csi

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// capability is how the volume is to be used.
func (p *publishing) capability() *csi.VolumeCapability {
	mode := csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	if p.PV != nil && len(p.PV.Spec.AccessModes) > 0 {
		mode = p.driver.accessMode(p.PV.Spec.AccessModes[0])
	}
	c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode}}
	if p.rec.Device != "" {
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		return c
	}
	m := &csi.VolumeCapability_MountVolume{FsType: p.fsType()}
	if p.PV != nil {
		m.MountFlags = p.PV.Spec.MountOptions
	}
	if g := group(p.Pod); g != nil && p.mountsForGroup() {
		m.VolumeMountGroup = strconv.FormatInt(*g, 10)
	}
	c.AccessType = &csi.VolumeCapability_Mount{Mount: m}
	return c
}

// mountsForGroup reports whether the driver gives volumes to the pod's group itself.
func (p *publishing) mountsForGroup() bool {
	return p.driver.can[csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP]
}

func (p *publishing) fsType() string {
	switch {
	case p.PV != nil:
		return p.PV.Spec.CSI.FSType
	case p.Inline.FSType != nil:
		return *p.Inline.FSType
	}
	return ""
}

// accessMode translates Kubernetes' access mode (CSI specification, VolumeCapability).
func (d *driver) accessMode(m corev1.PersistentVolumeAccessMode) csi.VolumeCapability_AccessMode_Mode {
	fine := d.can[csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER]
	switch {
	case m == corev1.ReadOnlyMany:
		return csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	case m == corev1.ReadWriteMany:
		return csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	case m == corev1.ReadWriteOnce && fine:
		return csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	case m == corev1.ReadWriteOncePod && fine:
		return csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	}
	return csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
}

func group(pod *corev1.Pod) *int64 {
	if sc := pod.Spec.SecurityContext; sc != nil {
		return sc.FSGroup
	}
	return nil
}

// own gives the volume to the pod's group where the driver's policy has the node do
// so (API reference, CSIDriverSpec.fsGroupPolicy).
func (p *publishing) own() error {
	g := group(p.Pod)
	if g == nil || p.readOnly() || p.mountsForGroup() || p.rec.Device != "" {
		return nil
	}
	policy := storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy
	if p.object != nil && p.object.Spec.FSGroupPolicy != nil {
		policy = *p.object.Spec.FSGroupPolicy
	}
	switch policy {
	case storagev1.NoneFSGroupPolicy:
		return nil
	case storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy:
		once := p.PV != nil && len(p.PV.Spec.AccessModes) > 0 &&
			(p.PV.Spec.AccessModes[0] == corev1.ReadWriteOnce || p.PV.Spec.AccessModes[0] == corev1.ReadWriteOncePod)
		if !once || p.fsType() == "" {
			return nil
		}
	}
	change := p.Pod.Spec.SecurityContext.FSGroupChangePolicy
	if err := own(p.rec.target(), int(*g), change != nil && *change == corev1.FSGroupChangeOnRootMismatch); err != nil {
		return fmt.Errorf("giving the volume to group %d: %w", *g, err)
	}
	return nil
}

// tokensKey is where drivers look for the tokens that their CSIDriver asks for.
const tokensKey = "csi.storage.k8s.io/serviceAccount.tokens"

// tokens returns the pod's tokens for the driver as JSON, by audience; empty where it
// asks for none (API reference, CSIDriverSpec.tokenRequests).
func (p *publishing) tokens() (string, error) {
	if p.object == nil || len(p.object.Spec.TokenRequests) == 0 {
		return "", nil
	}
	type token struct {
		Token string    `json:"token"`
		Ends  time.Time `json:"expirationTimestamp"`
	}
	out := map[string]token{}
	for _, r := range p.object.Spec.TokenRequests {
		text, ends, err := p.d.cfg.Token(p.Pod, &corev1.ServiceAccountTokenProjection{Audience: r.Audience, ExpirationSeconds: r.ExpirationSeconds})
		if err != nil {
			return "", fmt.Errorf("fetching a token of service account %q for driver %s: %w", p.Pod.Spec.ServiceAccountName, p.rec.Driver, err)
		}
		out[r.Audience] = token{text, ends.UTC()}
	}
	b, err := json.Marshal(out)
	return string(b), err
}
