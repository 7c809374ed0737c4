package marathon

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// segmentForm is what a part of an id may be (Marathon, PathId).
var segmentForm = regexp.MustCompile(`^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])$`)

// nameMax leaves room for what is added to the name of an app: "-" and five random
// characters, or what kind of core Service it is.
const nameMax = 46

// Resolve returns the absolute id that a path means below a group: clients write ids
// without a slash before, with one behind, or with two.
func Resolve(path, below string) string {
	parts := []string{}
	if !strings.HasPrefix(path, "/") {
		path = below + "/" + path
	}
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
		case "..":
			parts = parts[:max(len(parts)-1, 0)]
		default:
			parts = append(parts, part)
		}
	}
	return "/" + strings.Join(parts, "/")
}

// Parent returns the group that an id is in; of the root itself the root.
func Parent(id string) string {
	i := strings.LastIndexByte(id, '/')
	if i <= 0 {
		return "/"
	}
	return id[:i]
}

// Within reports whether the id is the group's own or one below it.
func Within(id, group string) bool {
	return group == "/" || id == group || strings.HasPrefix(id, group+"/")
}

// Top returns the first part of an id.
func Top(id string) string {
	top, _, _ := strings.Cut(strings.TrimPrefix(id, "/"), "/")
	return top
}

// checkID returns what is wrong with an absolute id.
func checkID(id string) string {
	if id == "/" {
		return "Path is not valid"
	}
	for part := range strings.SplitSeq(id[1:], "/") {
		if !segmentForm.MatchString(part) {
			return `must fully match regular expression '^(([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*([a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])|(\.|\.\.)$'`
		}
	}
	return ""
}

// Name returns the name of the object of an id: its parts with "-" between, with a digest
// where that could be another id's too, or is too long.
func Name(id string) string {
	path := strings.Trim(id, "/")
	if path == "" {
		return "root"
	}
	name := strings.NewReplacer("/", "-", ".", "-").Replace(path)
	if path == name && !strings.Contains(name, "-") && len(name) <= nameMax && name[0] > '9' && name != "root" {
		return name
	}
	sum := sha256.Sum256([]byte(path))
	digest := hex.EncodeToString(sum[:3])
	if name[0] <= '9' {
		name = "a" + name
	}
	return strings.TrimRight(name[:min(len(name), nameMax-len(digest)-1)], "-") + "-" + digest
}

// flat returns an id as Mesos' ids have it.
func flat(id string) string { return strings.ReplaceAll(strings.Trim(id, "/"), "/", "_") }

// InstanceID returns the id of the instance that a pod is.
func InstanceID(app string, uid types.UID) string { return flat(app) + ".instance-" + string(uid) }

// TaskID returns the id of the one task of an app's instance.
func TaskID(app string, uid types.UID) string { return InstanceID(app, uid) + "._app.1" }

// taskForms are ids of tasks and instances, with the UID in them.
var taskForms = regexp.MustCompile(`^(.+)\.instance-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(\.[a-zA-Z0-9_.-]+)?$`)

// TaskUID returns the UID of the pod that the id of a task or an instance means; false: it
// is none.
func TaskUID(id string) (types.UID, bool) {
	m := taskForms.FindStringSubmatch(id)
	if m == nil {
		return "", false
	}
	return types.UID(m[2]), true
}
