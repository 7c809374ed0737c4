package kube

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/api/kube/columns"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// printer makes the tables kubectl shows, for the kinds of one table.
type printer struct{ table store.TableID }

// column is one column; wide ones are shown with -o wide only.
type column struct {
	name string
	wide bool
}

// kindTable is how one kind is shown: its columns between Name and the end, and
// the cells of an object in their order.
type kindTable struct {
	columns []column
	cells   func(o runtime.Object) []any
}

// ConvertToTable implements rest.TableConvertor.
func (p printer) ConvertToTable(_ context.Context, o, opts runtime.Object) (*metav1.Table, error) {
	kt, ok := kindTables[p.table]
	if k, known := columns.Of(p.table); !ok && known {
		kt, ok = kindTable{cols(k.Names...), k.Cells}, true
	}
	if !ok {
		kt = kindTable{[]column{{"Age", false}}, func(o runtime.Object) []any { return []any{age(o.(metav1.Object))} }}
	}
	t := &metav1.Table{}
	// The name of an event is made up by its recorder: it comes last.
	last := p.table == tables.Events.ID()
	if to, ok := opts.(*metav1.TableOptions); !ok || !to.NoHeaders {
		t.ColumnDefinitions = kt.definitions(last)
	}
	row := func(o runtime.Object) error {
		name, cells := any(columns.Name(o.(metav1.Object))), kt.cells(o)
		if last {
			cells = append(cells, name)
		} else {
			cells = append([]any{name}, cells...)
		}
		t.Rows = append(t.Rows, metav1.TableRow{Cells: cells, Object: runtime.RawExtension{Object: o}})
		return nil
	}
	if m, err := meta.ListAccessor(o); err == nil {
		t.ResourceVersion, t.Continue, t.RemainingItemCount = m.GetResourceVersion(), m.GetContinue(), m.GetRemainingItemCount()
		return t, meta.EachListItem(o, row)
	}
	m, err := meta.CommonAccessor(o)
	if err != nil {
		return nil, err
	}
	t.ResourceVersion = m.GetResourceVersion()
	return t, row(o)
}

// definitions describes the columns; a name that comes last is a wide column.
func (kt kindTable) definitions(nameLast bool) []metav1.TableColumnDefinition {
	name := metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: "Name of the object"}
	var all []metav1.TableColumnDefinition
	for _, c := range kt.columns {
		d := metav1.TableColumnDefinition{Name: c.name, Type: "string", Description: c.name}
		if c.wide {
			d.Priority = 1
		}
		all = append(all, d)
	}
	if nameLast {
		name.Priority = 1
		return append(all, name)
	}
	return append([]metav1.TableColumnDefinition{name}, all...)
}

func cols(names ...string) []column {
	var all []column
	for _, n := range names {
		name, wide := strings.CutSuffix(n, "*")
		all = append(all, column{name, wide})
	}
	return all
}

// kindTables is the columns of every kind; a star marks the wide ones.
var kindTables = map[store.TableID]kindTable{
	"jobs":                     {cols("Status", "Completions", "Duration", "Age", "Containers*", "Images*", "Selector*"), jobCells},
	"cronjobs":                 {cols("Schedule", "Timezone", "Suspend", "Active", "Last Schedule", "Age", "Containers*", "Images*", "Selector*"), cronJobCells},
	"poddisruptionbudgets":     {cols("Min Available", "Max Unavailable", "Allowed Disruptions", "Age"), disruptionBudgetCells},
	"horizontalpodautoscalers": {cols("Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"), autoscalerCells},

	"namespaces": {cols("Status", "Age"), func(o runtime.Object) []any {
		n := o.(*corev1.Namespace)
		return []any{string(n.Status.Phase), age(n)}
	}},
	"pods":  {cols("Ready", "Status", "Restarts", "Age", "IP*", "Node*", "Nominated Node*", "Readiness Gates*"), podCells},
	"nodes": {cols("Status", "Roles", "Age", "Version", "Internal-IP*", "External-IP*", "OS-Image*", "Kernel-Version*", "Container-Runtime*"), nodeCells},
	"services": {cols("Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector*"), func(o runtime.Object) []any {
		s := o.(*corev1.Service)
		return []any{string(s.Spec.Type), or(s.Spec.ClusterIP, "<none>"), externalIP(s), ports(s), age(s), selector(s.Spec.Selector)}
	}},
	"endpoints": {cols("Endpoints", "Age"), func(o runtime.Object) []any {
		e := o.(*corev1.Endpoints)
		var all []string
		for _, s := range e.Subsets {
			for _, p := range s.Ports {
				for _, a := range s.Addresses {
					all = append(all, fmt.Sprintf("%s:%d", a.IP, p.Port))
				}
			}
		}
		return []any{more(all), age(e)}
	}},
	"endpointslices": {cols("AddressType", "Ports", "Endpoints", "Age"), func(o runtime.Object) []any {
		s := o.(*discoveryv1.EndpointSlice)
		var ps, as []string
		for _, p := range s.Ports {
			if p.Port != nil {
				ps = append(ps, strconv.Itoa(int(*p.Port)))
			}
		}
		for _, e := range s.Endpoints {
			as = append(as, strings.Join(e.Addresses, ","))
		}
		return []any{string(s.AddressType), more(ps), more(as), age(s)}
	}},
	"configmaps": {cols("Data", "Age"), func(o runtime.Object) []any {
		c := o.(*corev1.ConfigMap)
		return []any{int64(len(c.Data) + len(c.BinaryData)), age(c)}
	}},
	"secrets": {cols("Type", "Data", "Age"), func(o runtime.Object) []any {
		s := o.(*corev1.Secret)
		return []any{string(s.Type), int64(len(s.Data)), age(s)}
	}},
	"serviceaccounts": {cols("Secrets", "Age"), func(o runtime.Object) []any {
		s := o.(*corev1.ServiceAccount)
		return []any{int64(len(s.Secrets)), age(s)}
	}},
	"deployments": {cols("Ready", "Up-to-date", "Available", "Age", "Containers*", "Images*", "Selector*"), func(o runtime.Object) []any {
		d := o.(*appsv1.Deployment)
		names, images := containers(&d.Spec.Template.Spec)
		return []any{fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, replicas(d.Spec.Replicas)), int64(d.Status.UpdatedReplicas),
			int64(d.Status.AvailableReplicas), age(d), names, images, metav1.FormatLabelSelector(d.Spec.Selector)}
	}},
	"replicasets": {cols("Desired", "Current", "Ready", "Age", "Containers*", "Images*", "Selector*"), func(o runtime.Object) []any {
		r := o.(*appsv1.ReplicaSet)
		names, images := containers(&r.Spec.Template.Spec)
		return []any{int64(replicas(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas), age(r), names, images,
			metav1.FormatLabelSelector(r.Spec.Selector)}
	}},
	"statefulsets":                {cols("Ready", "Age", "Containers*", "Images*"), statefulSetCells},
	"daemonsets":                  {cols("Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector", "Age", "Containers*", "Images*", "Selector*"), daemonSetCells},
	"replicationcontrollers":      {cols("Desired", "Current", "Ready", "Age", "Containers*", "Images*", "Selector*"), replicationControllerCells},
	"controllerrevisions":         {cols("Controller", "Revision", "Age"), controllerRevisionCells},
	"podtemplates":                {cols("Containers", "Images", "Pod Labels"), podTemplateCells},
	"roles":                       {cols("Created At"), roleCells},
	"clusterroles":                {cols("Created At"), roleCells},
	"rolebindings":                {cols("Role", "Age", "Users*", "Groups*", "ServiceAccounts*"), bindingCells},
	"clusterrolebindings":         {cols("Role", "Age", "Users*", "Groups*", "ServiceAccounts*"), bindingCells},
	"certificatesigningrequests":  {cols("Age", "SignerName", "Requestor", "RequestedDuration", "Condition"), requestCells},
	"flowschemas":                 {cols("PriorityLevel", "MatchingPrecedence", "DistinguisherMethod", "Age", "MissingPL"), flowCells},
	"prioritylevelconfigurations": {cols("Type", "NominalConcurrencyShares", "Queues", "HandSize", "QueueLengthLimit", "Age"), levelCells},
	"events":                      {cols("Last Seen", "Type", "Reason", "Object", "Subobject*", "Source*", "Message", "First Seen*", "Count*"), eventCells},
}

func eventCells(o runtime.Object) []any {
	e := o.(*corev1.Event)
	last, first, count := e.LastTimestamp.Time, e.FirstTimestamp.Time, int64(max(e.Count, 1))
	if last.IsZero() {
		last = e.EventTime.Time
	}
	if first.IsZero() {
		first = e.EventTime.Time
	}
	if e.Series != nil {
		last, count = e.Series.LastObservedTime.Time, int64(e.Series.Count)
	}
	object := strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
	source := or(e.Source.Component, e.ReportingController)
	if host := or(e.Source.Host, e.ReportingInstance); host != "" {
		source += ", " + host
	}
	return []any{since(last), e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source, strings.TrimSpace(e.Message), since(first), count}
}

func nodeCells(o runtime.Object) []any {
	n := o.(*corev1.Node)
	status := "NotReady"
	switch object.NodeReadiness(&n.Status) {
	case corev1.ConditionTrue:
		status = "Ready"
	case "":
		status = "Unknown"
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	var roles []string
	for l := range n.Labels {
		if r, ok := strings.CutPrefix(l, "node-role.kubernetes.io/"); ok {
			roles = append(roles, r)
		}
	}
	slices.Sort(roles)
	i := n.Status.NodeInfo
	address := func(t corev1.NodeAddressType) string {
		for _, a := range n.Status.Addresses {
			if a.Type == t {
				return a.Address
			}
		}
		return "<none>"
	}
	return []any{status, or(strings.Join(roles, ","), "<none>"), age(n), i.KubeletVersion, address(corev1.NodeInternalIP),
		address(corev1.NodeExternalIP), or(i.OSImage, "<unknown>"), or(i.KernelVersion, "<unknown>"), or(i.ContainerRuntimeVersion, "<unknown>")}
}

func externalIP(s *corev1.Service) string {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return s.Spec.ExternalName
	}
	all := append([]string(nil), s.Spec.ExternalIPs...)
	for _, i := range s.Status.LoadBalancer.Ingress {
		all = append(all, or(i.IP, i.Hostname))
	}
	switch {
	case len(all) > 0:
		return more(all) // a mesh service has the address of every node
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer:
		return "<pending>"
	}
	return "<none>"
}

func ports(s *corev1.Service) string {
	var all []string
	for _, p := range s.Spec.Ports {
		text := strconv.Itoa(int(p.Port))
		if p.NodePort > 0 {
			text += ":" + strconv.Itoa(int(p.NodePort))
		}
		all = append(all, text+"/"+string(p.Protocol))
	}
	return or(strings.Join(all, ","), "<none>")
}

func containers(s *corev1.PodSpec) (names, images string) {
	var ns, is []string
	for _, c := range s.Containers {
		ns, is = append(ns, c.Name), append(is, c.Image)
	}
	return strings.Join(ns, ","), strings.Join(is, ",")
}

func selector(m map[string]string) string {
	return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: m})
}

// more shows three items and counts the rest.
func more(all []string) string {
	switch {
	case len(all) == 0:
		return "<none>"
	case len(all) > 3:
		return strings.Join(all[:3], ",") + fmt.Sprintf(" + %d more...", len(all)-3)
	}
	return strings.Join(all, ",")
}

func replicas(p *int32) int32 {
	if p == nil {
		return 0
	}
	return *p
}

func age(o metav1.Object) string { return since(o.GetCreationTimestamp().Time) }

func since(t time.Time) string { return columns.Since(t) }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
