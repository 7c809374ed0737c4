package csi

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"trireme/internal/object"
	"trireme/internal/object/claim"
)

// Volume is a volume that a pod wants: a persistent one, or one written into the pod.
type Volume struct {
	Pod    *corev1.Pod
	Name   string                   // in the pod
	PV     *corev1.PersistentVolume // nil: Inline says what
	Claim  *corev1.PersistentVolumeClaim
	Inline *corev1.CSIVolumeSource // nil: PV does
	// ReadOnly is what the pod's reference to the claim says.
	ReadOnly bool
}

// publishing is one publish: what is wanted, by whom, and what is known of both.
type publishing struct {
	Volume
	d      *Drivers
	rec    *record
	driver *driver
	object *storagev1.CSIDriver // nil: the cluster has none of the driver's name
	attach *storagev1.VolumeAttachment
	// expanded is true once the driver has grown the volume here.
	expanded bool
}

// Publish makes the volume ready for its pod and returns where it lies. Where it
// lies there already nothing is done, unless the driver wants to be called again.
func (d *Drivers) Publish(v Volume) (string, error) {
	p := &publishing{Volume: v, d: d, rec: d.recordOf(v)}
	defer d.hold(p.rec.volume())()
	p.object, _ = d.cfg.Objects.Driver(p.rec.Driver)
	there, err := load(p.rec.dir)
	if err != nil {
		return "", err
	}
	if there != nil && there.Done && there.published() && !republishes(p.object) {
		return p.rec.target(), nil
	}
	if p.driver, err = d.driver(p.rec.Driver); err != nil {
		return "", err
	}
	if err := p.check(); err != nil {
		return "", err
	}
	return p.rec.target(), p.publish()
}

// recordOf returns what is to be kept of the volume. One that is written into a pod is
// the pod's own, and its handle is made from the pod.
func (d *Drivers) recordOf(v Volume) *record {
	if v.PV == nil {
		handle := fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(v.Pod.UID)+v.Name)))
		return &record{
			Driver: v.Inline.Driver, Handle: handle, Name: v.Name, Lifecycle: lifecycleEphemeral,
			dir: filepath.Join(d.volumesDir(v.Pod.UID), v.Name),
		}
	}
	src := v.PV.Spec.CSI
	r := &record{
		Driver: src.Driver, Handle: src.VolumeHandle, Name: v.PV.Name, Lifecycle: lifecyclePersistent, Size: said(v.Claim),
		dir: filepath.Join(d.volumesDir(v.Pod.UID), v.PV.Name),
	}
	if claim.Block(v.PV) {
		r.Device = filepath.Join(d.devicesDir(), "publish", v.PV.Name, string(v.Pod.UID))
	}
	return r
}

// check finds what must be there before the driver is called.
func (p *publishing) check() error {
	if p.PV == nil {
		if p.object == nil {
			return fmt.Errorf("csidriver.storage.k8s.io %q not found: it must list %s in spec.volumeLifecycleModes for volumes in pods", p.rec.Driver, lifecycleEphemeral)
		}
		if !slices.Contains(p.object.Spec.VolumeLifecycleModes, storagev1.VolumeLifecycleEphemeral) {
			return fmt.Errorf("driver %s only supports CSI volumes of PersistentVolumes: its CSIDriver does not list %s in spec.volumeLifecycleModes", p.rec.Driver, lifecycleEphemeral)
		}
		return nil
	}
	if p.object != nil && len(p.object.Spec.VolumeLifecycleModes) > 0 && !slices.Contains(p.object.Spec.VolumeLifecycleModes, storagev1.VolumeLifecyclePersistent) {
		return fmt.Errorf("driver %s serves no persistent volumes: its CSIDriver does not list %s in spec.volumeLifecycleModes", p.rec.Driver, lifecyclePersistent)
	}
	if !claim.NeedsAttachment(p.object) {
		return nil
	}
	name := claim.AttachmentName(p.rec.Handle, p.rec.Driver, p.d.cfg.Node)
	at, ok := p.d.cfg.Objects.Attachment(name)
	switch {
	case !ok:
		return fmt.Errorf("volume %s is not attached to node %s yet: there is no volumeattachment %s", p.PV.Name, p.d.cfg.Node, name)
	case at.DeletionTimestamp != nil:
		return fmt.Errorf("volume %s is being detached from node %s", p.PV.Name, p.d.cfg.Node)
	case !at.Status.Attached && at.Status.AttachError != nil:
		return fmt.Errorf("volume %s is not attached to node %s: %s", p.PV.Name, p.d.cfg.Node, at.Status.AttachError.Message)
	case !at.Status.Attached:
		return fmt.Errorf("volume %s is not attached to node %s yet", p.PV.Name, p.d.cfg.Node)
	}
	p.rec.Attached, p.attach = true, at
	return nil
}

// publish calls the driver. What is to be taken away again is written down first.
func (p *publishing) publish() error {
	if p.PV != nil && p.driver.can[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		p.rec.Staging = p.d.staging(p.rec)
	}
	if err := p.rec.save(); err != nil {
		return fmt.Errorf("noting the volume: %w", err)
	}
	if p.rec.Attached {
		p.d.cfg.Used()
	}
	ctx, cancel := p.d.call()
	defer cancel()
	if err := p.stage(ctx); err != nil {
		return err
	}
	if p.rec.Device != "" {
		if err := os.MkdirAll(filepath.Dir(p.rec.Device), 0o750); err != nil {
			return err
		}
	}
	req, err := p.request()
	if err != nil {
		return err
	}
	if _, err := p.driver.node.NodePublishVolume(ctx, req); err != nil {
		return fmt.Errorf("driver %s: NodePublishVolume: %w", p.rec.Driver, err)
	}
	if !p.rec.published() {
		dir := "pods"
		if p.rec.Device != "" {
			dir = "plugins"
		}
		return fmt.Errorf("driver %s published volume %s, but nothing is mounted at %s: the driver's pod must mount %s with mountPropagation: Bidirectional",
			p.rec.Driver, p.rec.Name, p.rec.target(), p.d.cfg.Home.There(filepath.Join(p.d.cfg.Home.Root, dir)))
	}
	if p.rec.Staging == "" {
		if err := p.expand(ctx, p.rec.target()); err != nil {
			return err
		}
	}
	if err := p.own(); err != nil {
		return err
	}
	p.rec.Done = true
	if err := p.rec.save(); err != nil {
		return err
	}
	if p.expanded {
		p.d.cfg.Grown()
	}
	return nil
}

// request is what the driver is asked to publish.
func (p *publishing) request() (*csi.NodePublishVolumeRequest, error) {
	words := p.context()
	secrets, err := p.secrets(p.publishSecret())
	if err != nil {
		return nil, err
	}
	tokens, err := p.tokens()
	if err != nil {
		return nil, err
	}
	if to := words; tokens != "" {
		if p.object.Spec.ServiceAccountTokenInSecrets != nil && *p.object.Spec.ServiceAccountTokenInSecrets {
			to = secrets
		}
		to[tokensKey] = tokens
	}
	req := &csi.NodePublishVolumeRequest{
		VolumeId: p.rec.Handle, TargetPath: p.d.cfg.Home.There(p.rec.target()), VolumeCapability: p.capability(),
		Readonly: p.readOnly(), VolumeContext: words, Secrets: secrets, PublishContext: p.publishContext(),
	}
	if p.rec.Staging != "" {
		req.StagingTargetPath = p.d.cfg.Home.There(p.rec.Staging)
	}
	return req, nil
}

// stage has the driver stage the volume, where it does such a thing, as large as it is.
func (p *publishing) stage(ctx context.Context) error {
	if p.rec.Staging == "" {
		return nil
	}
	if err := os.MkdirAll(p.rec.Staging, 0o750); err != nil {
		return err
	}
	secrets, err := p.secrets(p.PV.Spec.CSI.NodeStageSecretRef)
	if err != nil {
		return err
	}
	if _, err := p.driver.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
		VolumeId: p.rec.Handle, StagingTargetPath: p.d.cfg.Home.There(p.rec.Staging), VolumeCapability: p.capability(),
		Secrets: secrets, VolumeContext: p.PV.Spec.CSI.VolumeAttributes, PublishContext: p.publishContext(),
	}); err != nil {
		return fmt.Errorf("driver %s: NodeStageVolume: %w", p.rec.Driver, err)
	}
	return p.expand(ctx, p.rec.Staging)
}

func (p *publishing) publishContext() map[string]string {
	if p.attach == nil {
		return nil
	}
	return p.attach.Status.AttachmentMetadata
}

func (p *publishing) readOnly() bool {
	if p.PV == nil {
		return p.Inline.ReadOnly != nil && *p.Inline.ReadOnly
	}
	return p.ReadOnly || p.PV.Spec.CSI.ReadOnly
}

func (p *publishing) publishSecret() *corev1.SecretReference {
	switch {
	case p.PV != nil:
		return p.PV.Spec.CSI.NodePublishSecretRef
	case p.Inline.NodePublishSecretRef != nil:
		return &corev1.SecretReference{Namespace: p.Pod.Namespace, Name: p.Inline.NodePublishSecretRef.Name}
	}
	return nil
}

// secrets returns what the secret holds; an empty map where none is named.
func (p *publishing) secrets(ref *corev1.SecretReference) (map[string]string, error) {
	out := map[string]string{}
	if ref == nil {
		return out, nil
	}
	s, ok := p.d.cfg.Objects.Secret(object.Key{Namespace: ref.Namespace, Name: ref.Name})
	if !ok {
		return nil, fmt.Errorf("secret %q in namespace %q not found, which volume %s names", ref.Name, ref.Namespace, p.rec.Name)
	}
	for k, v := range s.Data {
		out[k] = string(v)
	}
	return out, nil
}

// context returns the volume's attributes, and what the driver wants to know of the
// pod (API reference, CSIDriverSpec.podInfoOnMount).
func (p *publishing) context() map[string]string {
	out := map[string]string{}
	if p.PV != nil {
		maps.Copy(out, p.PV.Spec.CSI.VolumeAttributes)
	} else {
		maps.Copy(out, p.Inline.VolumeAttributes)
	}
	if p.object == nil || p.object.Spec.PodInfoOnMount == nil || !*p.object.Spec.PodInfoOnMount {
		return out
	}
	const prefix = "csi.storage.k8s.io/"
	out[prefix+"pod.name"], out[prefix+"pod.namespace"], out[prefix+"pod.uid"] = p.Pod.Name, p.Pod.Namespace, string(p.Pod.UID)
	out[prefix+"serviceAccount.name"], out[prefix+"ephemeral"] = p.Pod.Spec.ServiceAccountName, strconv.FormatBool(p.PV == nil)
	return out
}
