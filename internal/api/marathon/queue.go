package marathon

import (
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
	"trireme/internal/object/marathon"
	"trireme/internal/tables"
)

var queueRoutes = route{"GET": showQueue, "DELETE": dropDelay}

// reasons are Marathon's words for why nodes do not take an instance, with what the
// scheduler's begin with or hold.
var reasons = []struct {
	reason string
	words  []string
}{
	{"UnfulfilledRole", []string{"didn't match Pod's node affinity"}},
	{"UnfulfilledConstraint", []string{"placement constraints", "as many replicas", "of another platform"}},
	{"NoCorrespondingReservationFound", []string{"volume"}},
	{"InsufficientCpus", []string{"Insufficient cpu", "Too many pods"}},
	{"InsufficientMemory", []string{"Insufficient memory"}},
	{"InsufficientDisk", []string{"Insufficient ephemeral-storage"}},
	{"InsufficientGpus", []string{"Insufficient nvidia.com/gpu"}},
	{"InsufficientPorts", []string{"free ports"}},
	{"AgentMaintenance", []string{"unschedulable", "taint", "not ready", "being deleted"}},
	{"DeclinedScarceResources", nil},
}

type rejected struct {
	Reason    string `json:"reason"`
	Declined  int    `json:"declined"`
	Processed int    `json:"processed"`
}

// showQueue tells of apps that have fewer instances on nodes than they want.
func showQueue(c *call) (any, error) {
	if len(c.path) > 0 {
		return nil, missing("%s is not served: see docs/marathon.md for what is", c.URL.Path)
	}
	out, unused := []any{}, c.newUnused()
	for a := range tables.MarathonApps(c.snap) {
		if item := c.queued(a); item != nil {
			unused.embed(a, item)
			out = append(out, item)
		}
	}
	return map[string]any{"queue": out}, nil
}

// queued returns an app's item of the queue, nil where it wants no more instances.
func (c *call) queued(a *marathon.App) map[string]any {
	bound, waiting, since, why := 0, 0, time.Time{}, ""
	for row := range tables.Pods.By(c.snap, tables.OwnerIndex, string(a.UID)) {
		h := row.Head()
		switch {
		case h.Owner != a.UID || h.Ended() || h.Deleting:
		case h.Node != "":
			bound++
		default:
			waiting++
			if since.IsZero() || h.Created.Before(since) {
				since = h.Created
			}
			if cond := object.PodCondition(row.Object(), corev1.PodScheduled); cond != nil && cond.Status == corev1.ConditionFalse {
				why = cond.Message
			}
		}
	}
	count := waiting + max(a.Spec.Count()-bound-waiting, 0)
	if count <= 0 {
		return nil
	}
	now := time.Now()
	left := 0
	if b := a.Status.Backoff; b != nil && b.Generation == a.Spec.Generation() {
		left = max(int(b.Until.Sub(now).Seconds()+0.999), 0)
		if since.IsZero() {
			since = b.Until.Time
		}
	}
	if at, err := marathon.ParseStamp(a.Spec.Version); err == nil && since.IsZero() {
		since = at
	}
	as, shown := "app", any(a.Spec)
	if p := a.Spec.ShowPod(); p != nil {
		as, shown = "pod", p
	}
	summary, nodes, declined := rejections(why)
	offers := map[string]any{"processedOffersCount": nodes, "unusedOffersCount": declined, "rejectSummaryLastOffers": summary, "rejectSummaryLaunchAttempt": summary}
	if why != "" {
		offers["lastUnusedOfferAt"] = marathon.Stamp(now)
	}
	item := map[string]any{
		as: shown, "count": count, "since": marathon.Stamp(since), "role": a.Spec.Role, "processedOffersSummary": offers,
		"delay": map[string]any{"timeLeftSeconds": left, "overdue": left == 0},
	}
	return item
}

// rejections counts the scheduler's words by Marathon's: of so many nodes, how many each
// reason has declined, in the order in which they are asked.
func rejections(why string) (summary []rejected, nodes, declined int) {
	counts := map[string]int{}
	head, tail, _ := strings.Cut(why, " nodes are available: ")
	if _, all, ok := strings.Cut(head, "/"); ok {
		nodes = number(all)
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(tail, "."), ", ") {
		n := number(part)
		if reason := reasonOf(part); reason != "" {
			counts[reason] += n
		}
	}
	left := nodes
	for _, r := range reasons {
		n := min(counts[r.reason], left)
		summary = append(summary, rejected{r.reason, n, left})
		left -= n
	}
	return summary, nodes, nodes - left
}

// reasonOf returns Marathon's word for the scheduler's; "" for none.
func reasonOf(text string) string {
	for _, r := range reasons {
		if slices.ContainsFunc(r.words, func(w string) bool { return strings.Contains(text, w) }) {
			return r.reason
		}
	}
	return ""
}

// number returns the number that a text begins with.
func number(text string) (n int) {
	for _, r := range text {
		if r < '0' || r > '9' {
			return n
		}
		n = min(n*10+int(r-'0'), 1<<30)
	}
	return n
}

// dropDelay lets an app's next instance start at once.
func dropDelay(c *call) (any, error) {
	n := len(c.path)
	if n < 2 || c.path[n-1] != "delay" {
		return nil, missing("%s is not served: see docs/marathon.md for what is", c.URL.Path)
	}
	id := "/" + strings.Join(c.path[:n-1], "/")
	a, err := c.findApp(id)
	if err != nil || c.queued(a) == nil {
		return nil, missing("Application %s not found in tasks queue.", id)
	}
	patch := []byte(`{"status":{"backoff":null}}`)
	_, err = c.custom().Resource(marathon.Apps).Namespace(a.Namespace).Patch(c.Context(), a.Name, mergePatch, patch, metav1.PatchOptions{FieldManager: manager}, "status")
	if err != nil {
		return nil, fromKubernetes(err)
	}
	return answer{code: http.StatusNoContent}, nil
}
