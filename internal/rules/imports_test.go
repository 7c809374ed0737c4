package rules

import (
	"strings"
	"testing"
)

// mayImport lists, for each folder below internal, the folders of ours that it
// may import, its own always included: DESIGN's direction of the house. A folder
// that is not listed is an error, so that a new one gets a place.
var mayImport = map[string][]string{
	"kind":        {},
	"object":      {"kind", "mesos"},
	"store":       {"kind", "object"},
	"tables":      {"kind", "object", "store"},
	"loop":        {"kind", "object", "store"},
	"etcdlog":     {"kind", "object", "store"},
	"rollout":     {"kind", "object"},
	"share":       {"object"},
	"compose":     {"kind", "object"},
	"tell":        {"kind", "object", "store", "tables"},
	"review":      {"kind", "object", "store", "tables", "policy", "tell"},
	"policy":      {"kind", "object", "store", "tables"},
	"certify":     {"kind", "object", "store", "tables", "tell", "access"},
	"account":     {"kind", "object", "store", "tables"},
	"access":      {"kind", "object", "store", "tables"},
	"orchestrate": {"kind", "object", "store", "tables", "policy", "tell", "loop", "rollout", "mesos"},
	"offer":       {"kind", "object", "store", "tables", "tell", "loop", "share", "schedule", "mesos"},
	"allocate":    {"kind", "object", "store", "tables", "tell", "loop"},
	"schedule":    {"kind", "object", "store", "tables", "tell", "loop", "share", "mesos"},
	"wire":        {"kind", "object", "chunk"},
	"chunk":       {},
	"mesos":       {"kind"},
	"socket":      {},
	"registry":    {"kind", "object", "store", "tables", "wire"},
	"dispatch":    {"kind", "object", "store", "tables", "wire", "account", "mesos"},
	"bundle":      {"kind"},
	"runtime":     {"kind", "object", "bundle", "chunk", "socket"},
	"dataplane":   {"kind", "object", "socket"},
	"agent":       {"kind", "object", "wire", "runtime", "dataplane", "mesos"},
	"admit":       {"kind", "object", "store", "tables", "policy", "allocate"},
	"whatif":      {"kind", "object", "store", "tables", "loop", "admit", "policy"},
	"api":         {"kind", "object", "store", "tables", "admit", "policy", "wire", "access", "account", "mesos", "registry", "whatif"},
	"server":      {"*"},
	"cli":         {"*"},
	"sim":         {"kind", "object", "wire", "server"},
	"rules":       {},
	"bench":       {"*"},
}

func TestImportDirections(t *testing.T) {
	for _, s := range tree(t) {
		rest, ok := strings.CutPrefix(s.dir, "internal/")
		if !ok || s.test {
			continue
		}
		folder, _, _ := strings.Cut(rest, "/")
		allowed, known := mayImport[folder]
		if !known {
			t.Errorf("%s: folder internal/%s has no place in the import directions", s.path, folder)
			continue
		}
		for _, imp := range s.imports() {
			to, ours := strings.CutPrefix(imp, "trireme/internal/")
			if !ours {
				continue
			}
			to, _, _ = strings.Cut(to, "/")
			if to != folder && !contains(allowed, to) && !contains(allowed, "*") {
				t.Errorf("%s: %s may not import %s", s.path, folder, to)
			}
		}
	}
}

// onlyIn confines what knows a piece of the outside world to the folders that
// own it.
var onlyIn = []struct {
	prefix  string
	folders []string
}{
	{"k8s.io/kubernetes", nil},
	{"go.etcd.io/etcd", []string{"internal/etcdlog"}},
	{"k8s.io/cri-api", []string{"internal/runtime/cri", "internal/runtime/native"}}, // the latter: for the types of k8s.io/cri-streaming
	{"github.com/container-storage-interface/", []string{"internal/agent/csi", "test/csidriver"}},
	{"github.com/containerd/", []string{"internal/runtime/cri", "tools"}},
	{"github.com/vishvananda/netlink", []string{"internal/dataplane"}},
	{"github.com/google/nftables", []string{"internal/dataplane"}},
	{"golang.org/x/crypto/acme", []string{"internal/certify/acme"}},
	{"golang.zx2c4.com/wireguard", []string{"cmd/trireme-tunnel"}},
	{"github.com/miekg/dns", []string{"internal/dataplane"}},
	{"k8s.io/apiserver", []string{"internal/api/kube"}},
	{"k8s.io/kubectl", []string{"internal/cli"}},
}

func TestOutsideWorldHasOneOwner(t *testing.T) {
	for _, s := range tree(t) {
		if s.test {
			continue
		}
		for _, imp := range s.imports() {
			for _, o := range onlyIn {
				if strings.HasPrefix(imp, o.prefix) && !within(s.dir, o.folders...) {
					t.Errorf("%s: %s may be imported only by %v", s.path, imp, o.folders)
				}
			}
		}
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
