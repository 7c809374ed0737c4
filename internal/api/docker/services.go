package docker

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

var serviceRoutes = map[string]handler{
	"GET /services": listServices, "POST /services/create": createService, "GET /services/{id}": inspectService,
	"POST /services/{id}/update": updateService, "DELETE /services/{id}": removeService, "GET /services/{id}/logs": serviceLogs,
}

// service returns a Service as docker's clients know it.
func (c *call) service(s *ours.Service) swarm.Service {
	out := swarm.Service{ID: ours.ID(s.UID), Meta: meta(s), Spec: s.Spec, PreviousSpec: s.PreviousSpec}
	c.completeMode(&out, s)
	if e := s.Spec.EndpointSpec; e != nil {
		out.Endpoint.Spec = *e
		out.Endpoint.Ports = slices.Clone(e.Ports)
	}
	if out.Endpoint.Spec.Mode == "" {
		out.Endpoint.Spec.Mode = swarm.ResolutionModeVIP
	}
	for i := range out.Endpoint.Ports {
		if p := &out.Endpoint.Ports[i]; p.PublishedPort == 0 {
			p.PublishedPort = c.chosenPort(s, *p)
		}
	}
	if core, ok := tables.Services.Get(c.snap, object.Key{Namespace: s.Namespace, Name: s.Name + ours.PublishedSuffix}); ok && metav1.IsControlledBy(core, s) {
		if a, err := netip.ParseAddr(core.Spec.ClusterIP); err == nil {
			out.Endpoint.VirtualIPs = []swarm.EndpointVirtualIP{{NetworkID: ingressID, Addr: netip.PrefixFrom(a, a.BitLen())}}
		}
	}
	out.Endpoint.VirtualIPs = append(out.Endpoint.VirtualIPs, c.virtualIPs(s)...)
	if u := s.Status.Update; u != nil && u.Seen == s.ObjectMeta.Generation {
		started := u.Started.UTC()
		out.UpdateStatus = &swarm.UpdateStatus{State: u.State, Message: u.Message, StartedAt: &started}
		if u.Completed != nil {
			at := u.Completed.UTC()
			out.UpdateStatus.CompletedAt = &at
		}
	}
	return out
}

// completeMode tells clients what their users did not say: some look for it blindly.
func (c *call) completeMode(out *swarm.Service, s *ours.Service) {
	switch n, _ := s.Replicas(); s.Mode() {
	case ours.Replicated:
		replicas := uint64(n)
		out.Spec.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}}
	case ours.ReplicatedJob:
		at, of := s.Completions()
		concurrent, total := uint64(at), uint64(of)
		out.Spec.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &concurrent, TotalCompletions: &total}}
	}
	if !s.Job() {
		return
	}
	out.JobStatus = &swarm.JobStatus{LastExecution: out.CreatedAt}
	out.JobStatus.JobIteration.Index = uint64(s.Iteration())
	if st := s.Status.Job; st != nil && st.Iteration == s.Iteration() {
		out.JobStatus.LastExecution = st.LastExecution.UTC()
	}
}

// chosenPort returns the port that the cluster chose for one that says none.
func (c *call) chosenPort(s *ours.Service, p swarm.PortConfig) uint32 {
	core, ok := tables.Services.Get(c.snap, object.Key{Namespace: s.Namespace, Name: s.Name + ours.PortsSuffix})
	if !ok || !metav1.IsControlledBy(core, s) {
		return 0
	}
	for _, have := range core.Spec.Ports {
		if have.Name == ours.PortName(p) {
			return uint32(have.NodePort)
		}
	}
	return 0
}

// status counts a service's tasks: of a job those of its present iteration.
func (c *call) status(s *ours.Service) *swarm.ServiceStatus {
	st := &swarm.ServiceStatus{}
	label, current := s.Current()
	done := map[string]bool{} // slots of a job
	for row := range tables.Pods.By(c.snap, tables.OwnerIndex, string(s.UID)) {
		h := row.Head()
		if h.Owner != s.UID || h.UnderReview || h.Deleting || s.Job() && h.Labels[label] != current {
			continue
		}
		if h.Phase == corev1.PodSucceeded && s.Job() {
			done[h.Labels[ours.SlotLabel]] = true
		}
		if h.Ended() || h.Labels[ours.DesiredLabel] == ours.Shutdown {
			continue
		}
		st.DesiredTasks++
		if h.Ready {
			st.RunningTasks++
		}
	}
	st.CompletedTasks = uint64(len(done))
	switch n, _ := s.Replicas(); s.Mode() {
	case ours.Replicated:
		st.DesiredTasks = uint64(n)
	case ours.ReplicatedJob:
		concurrent, _ := s.Completions()
		st.DesiredTasks = uint64(min(concurrent, max(n-len(done), 0)))
	}
	return st
}

func (c *call) findService(ref string) (*ours.Service, error) {
	return find("service", ref, slices.Collect(tables.Swarms(c.snap, "")), func(s *ours.Service) (string, string) { return ours.ID(s.UID), s.Spec.Name })
}

func listServices(c *call) (any, error) {
	f, err := c.filters("id", "label", "mode", "name", "runtime")
	if err != nil {
		return nil, err
	}
	out := []swarm.Service{}
	for s := range tables.Swarms(c.snap, "") {
		if !f.prefix("id", ours.ID(s.UID)) || !f.prefix("name", s.Spec.Name) || !f.labels("label", s.Spec.Labels) || !f.equal("mode", string(s.Mode())) || !f.equal("runtime", "container") {
			continue
		}
		o := c.service(s)
		if c.flag("status") {
			o.ServiceStatus = c.status(s)
		}
		out = append(out, o)
	}
	return out, nil
}

func inspectService(c *call) (any, error) {
	s, err := c.findService(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return c.service(s), nil
}

// readSpec reads a ServiceSpec: as it is written, and as it is meant.
func (c *call) readSpec() (raw map[string]any, s *ours.Service, err error) {
	var body json.RawMessage
	if err := c.read(&body); err != nil {
		return nil, nil, err
	}
	s = &ours.Service{}
	if err := json.Unmarshal(body, &s.Spec); err != nil {
		return nil, nil, kind.New(kind.Malformed, "invalid ServiceSpec: %v", err)
	}
	if err := utiljson.Unmarshal(body, &raw); err != nil {
		return nil, nil, kind.New(kind.Malformed, "invalid ServiceSpec: %v", err)
	}
	return raw, s, c.nameNetworks(raw, s)
}

// check refuses what cannot be run, by the name of its field.
func (c *call) check(s *ours.Service) error {
	if err := s.Check(); err != nil {
		return kind.New(kind.Invalid, "%v", err)
	}
	if s.Spec.EndpointSpec == nil {
		return nil
	}
	for _, p := range s.Spec.EndpointSpec.Ports {
		if p.PublishedPort == 0 {
			continue
		}
		if owner := c.portOwner(s, p); owner != "" {
			return kind.New(kind.Invalid, "port '%d' is already in use by %s", p.PublishedPort, owner)
		}
	}
	return nil
}

// portOwner names who else has the published port on every node, or on some where this
// one is to be on every node; empty: nobody. Of ports of single nodes the scheduler takes
// care. Whom the caller may not see has no name.
func (c *call) portOwner(s *ours.Service, p swarm.PortConfig) string {
	const hidden = "somebody else"
	host := func(q swarm.PortConfig) bool { return q.PublishMode == swarm.PortConfigPublishModeHost }
	for other := range tables.Swarms(c.all, "") {
		if other.UID == s.UID || other.Spec.EndpointSpec == nil {
			continue
		}
		for _, q := range other.Spec.EndpointSpec.Ports {
			if q.PublishedPort == p.PublishedPort && ours.Protocol(q.Protocol) == ours.Protocol(p.Protocol) && !(host(p) && host(q)) {
				if !c.sees(tables.CustomObjects, tables.SwarmKey(object.KeyOf(other))) {
					return hidden
				}
				as := "an ingress"
				if host(q) {
					as = "a host-published"
				}
				return fmt.Sprintf("service '%s' (%s) as %s port", other.Spec.Name, ours.ID(other.UID), as)
			}
		}
	}
	for row := range tables.Services.By(c.all, tables.ServicesByMesh, "") {
		core := row.Object()
		if s.UID != "" && metav1.IsControlledBy(core, s) {
			continue
		}
		for _, q := range core.Spec.Ports {
			if q.Port == int32(p.PublishedPort) && q.Protocol == ours.Protocol(p.Protocol) {
				if !c.sees(tables.Services, object.KeyOf(core)) {
					return hidden
				}
				return fmt.Sprintf("service %s of Kubernetes as an ingress port", object.KeyOf(core))
			}
		}
	}
	return ""
}

func createService(c *call) (any, error) {
	raw, s, err := c.readSpec()
	if err != nil {
		return nil, err
	}
	if s.Spec.Name == "" {
		s.Spec.Name = inventName()
		raw["Name"] = s.Spec.Name
	}
	if err := c.check(s); err != nil {
		return nil, err
	}
	for other := range tables.Swarms(c.snap, "") {
		if other.Spec.Name == s.Spec.Name {
			return nil, kind.New(kind.Exists, "name conflicts with an existing object: service %s already exists", s.Spec.Name)
		}
	}
	at := ours.Place(s.Spec.Name, s.Spec.Labels)
	s.Namespace, s.Name = at.Namespace, at.Name
	foreign, err := c.serviceFiles(s)
	if err != nil {
		return nil, err
	}
	if err := c.ensureNamespace(at.Namespace, s.Spec.Labels[ours.StackLabel]); err != nil {
		return nil, err
	}
	if err := c.openNetworks(s, at.Namespace); err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": raw}}
	u.SetGroupVersionKind(ours.Kind)
	u.SetNamespace(at.Namespace)
	u.SetName(at.Name)
	auth, err := c.keepAuth(s)
	if err != nil {
		return nil, err
	}
	if auth != "" {
		u.SetAnnotations(map[string]string{ours.RegistryAuthAnnotation: auth})
	}
	made, err := c.custom().Resource(ours.Services).Namespace(at.Namespace).Create(c.Context(), u, metav1.CreateOptions{FieldManager: "docker"})
	if err != nil {
		return nil, fromKubernetes(err)
	}
	s.UID = made.GetUID()
	if err := errors.Join(c.copyFiles(s, foreign), c.ownAuth(s, auth)); err != nil {
		return nil, errors.Join(err, c.deleteService(s))
	}
	return answer{http.StatusCreated, swarm.ServiceCreateResponse{ID: ours.ID(made.GetUID())}}, nil
}

// ensureNamespace makes the namespace of a stack.
func (c *call) ensureNamespace(name, stack string) error {
	if _, ok := tables.Namespaces.Row(c.all, object.Key{Name: name}); ok || stack == "" {
		return nil
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{ours.StackLabel: stack}}}
	if _, err := c.typed().CoreV1().Namespaces().Create(c.Context(), ns, metav1.CreateOptions{FieldManager: "docker"}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fromKubernetes(err)
	}
	return nil
}

func updateService(c *call) (any, error) {
	version, err := c.index()
	if err != nil {
		return nil, err
	}
	s, err := c.findService(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	row, ok := tables.CustomObjects.Row(c.snap, tables.SwarmKey(object.KeyOf(s)))
	if !ok {
		return nil, kind.New(kind.NotFound, "service %s not found", c.PathValue("id"))
	}
	next := row.Object().DeepCopy()
	was := next.Object["spec"]
	if back := c.FormValue("rollback"); back == "previous" {
		if s.PreviousSpec == nil {
			return nil, kind.New(kind.Invalid, "service %s does not have a previous spec", s.Spec.Name)
		}
		next.Object["spec"], next.Object["previousSpec"], next.Object["rollback"] = next.Object["previousSpec"], was, true
		runAgain(next, s)
	} else if back != "" {
		return nil, kind.New(kind.Malformed, "invalid rollback %q: it is previous, or nothing", back)
	} else if err := c.change(next, s); err != nil {
		return nil, err
	}
	next.SetResourceVersion(version)
	made, err := c.custom().Resource(ours.Services).Namespace(s.Namespace).Update(c.Context(), next, metav1.UpdateOptions{FieldManager: "docker"})
	if err != nil {
		return nil, fromKubernetes(err)
	}
	if err := c.dropFiles(made); err != nil {
		return nil, err
	}
	return swarm.ServiceUpdateResponse{}, nil
}

// change writes the request's spec over the service's, which becomes the previous one.
func (c *call) change(next *unstructured.Unstructured, s *ours.Service) error {
	raw, asked, err := c.readSpec()
	if err != nil {
		return err
	}
	asked.ObjectMeta = s.ObjectMeta
	if asked.Spec.Name != s.Spec.Name {
		return kind.New(kind.Unsupported, "renaming services is not supported")
	}
	if asked.Mode() != s.Mode() {
		return kind.New(kind.Unsupported, "service mode change is not allowed")
	}
	if a, b := ours.Place(asked.Spec.Name, asked.Spec.Labels), ours.Place(s.Spec.Name, s.Spec.Labels); a != b {
		return kind.New(kind.Unsupported, "Labels: a service stays in its stack: %s cannot be changed", ours.StackLabel)
	}
	if err := c.check(asked); err != nil {
		return err
	}
	if err := c.openNetworks(asked, s.Namespace); err != nil {
		return err
	}
	foreign, err := c.serviceFiles(asked)
	if err != nil {
		return err
	}
	if err := c.copyFiles(asked, foreign); err != nil {
		return err
	}
	auth, err := c.keepAuth(asked)
	if err != nil {
		return err
	}
	if auth != "" {
		metav1.SetMetaDataAnnotation(&asked.ObjectMeta, ours.RegistryAuthAnnotation, auth)
		next.SetAnnotations(asked.Annotations)
	}
	next.Object["previousSpec"] = next.Object["spec"]
	next.Object["spec"] = raw
	delete(next.Object, "rollback")
	runAgain(next, s)
	return nil
}

// runAgain makes every update of a job another iteration, also one that changes nothing.
func runAgain(next *unstructured.Unstructured, s *ours.Service) {
	if s.Job() {
		next.Object["runs"] = s.Runs + 1
	}
}

func removeService(c *call) (any, error) {
	s, err := c.findService(c.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := c.deleteService(s); err != nil {
		return nil, err
	}
	return answer{http.StatusOK, nil}, nil
}

func (c *call) deleteService(s *ours.Service) error {
	background := metav1.DeletePropagationBackground
	err := c.custom().Resource(ours.Services).Namespace(s.Namespace).Delete(c.Context(), s.Name, metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fromKubernetes(err)
}

// inventName makes a name for a service without one.
func inventName() string {
	return "service-" + strings.ToLower(rand.Text()[:8])
}
