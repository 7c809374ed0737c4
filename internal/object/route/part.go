package route

import (
	"encoding/json"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"trireme/internal/object"
)

// TableName is what sessions call the parts that they carry.
const TableName = "routes"

// The ports of an Ingress.
const (
	HTTPPort  = 80
	HTTPSPort = 443
)

// Part is what one object adds to the routing of every node. Its namespace and, after
// the kind, its name are the object's. It is no kind of the API's: no door shows it.
type Part struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Since             metav1.Time   `json:"since,omitzero"` // when the object was made: the older wins
	Ports             []Port        `json:"ports,omitempty"`
	Certificates      []Certificate `json:"certificates,omitempty"`
	// Places are where the rules stand that name no port: each of them in all of these.
	Places []Place `json:"places,omitempty"`
	Rules  []Rule  `json:"rules,omitempty"`
}

// Place is where a rule stands.
type Place struct {
	Port   int32    `json:"port"`
	Host   string   `json:"host,omitempty"`   // as a rule's
	Except []string `json:"except,omitempty"` // hosts within Host whose requests belong elsewhere
	// Terminate ends TLS before a passthrough rule's backends get the connection.
	Terminate bool `json:"terminate,omitempty"`
}

// Port is a port of the nodes that is to be open.
type Port struct {
	Port int32 `json:"port"`
	TLS  bool  `json:"tls,omitempty"`
}

// Certificate is shown on a port to who asks for a host.
type Certificate struct {
	Port   int32      `json:"port"`
	Host   string     `json:"host,omitempty"` // may be a wildcard; empty: for any host that has no other
	Secret object.Key `json:"secret"`         // of type kubernetes.io/tls
}

// Rule is requests, and what becomes of them.
type Rule struct {
	Port     int32  `json:"port,omitempty"`     // 0: in the part's places
	Host     string `json:"host,omitempty"`     // "web.example", "*.example"; empty: any
	OneLabel bool   `json:"oneLabel,omitempty"` // the star stands for one label, as in an Ingress; else for any number
	// Passthrough rules are about connections: Host is compared with the name that the
	// client asks for in TLS, and Backends get the connection as it is.
	Passthrough bool    `json:"passthrough,omitempty"`
	Path        Path    `json:"path,omitzero"`
	Method      string  `json:"method,omitempty"` // empty: any
	Headers     []Match `json:"headers,omitempty"`
	Query       []Match `json:"query,omitempty"`

	Filters  Filters   `json:"filters,omitzero"`
	Redirect *Redirect `json:"redirect,omitempty"`
	Respond  *Respond  `json:"respond,omitempty"`
	Backends []Backend `json:"backends,omitempty"`

	// Timeout bounds the whole request, BackendTimeout one try of it; 0: nothing does.
	Timeout        time.Duration `json:"timeout,omitempty"`
	BackendTimeout time.Duration `json:"backendTimeout,omitempty"`
}

// The ways in which values are compared.
const (
	Exact  = "Exact"
	Prefix = "Prefix" // by elements of the path
	Regex  = "Regex"  // RE2, the whole value
)

// Path is which paths a rule has; the zero Path is every one.
type Path struct {
	Type  string `json:"type,omitempty"`
	Value string `json:"value,omitempty"`
}

// Match is a header or a query parameter that a request must have.
type Match struct {
	Type  string `json:"type,omitempty"` // Exact or Regex
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// Backend is a service that answers for a share of the requests.
type Backend struct {
	Service object.Key `json:"service"`
	Port    int32      `json:"port,omitempty"`
	// PortName names the port where Port is 0.
	PortName string  `json:"portName,omitempty"`
	Weight   int32   `json:"weight"`
	H2C      bool    `json:"h2c,omitempty"`     // it speaks HTTP/2 without TLS, whatever its port says
	Invalid  bool    `json:"invalid,omitempty"` // it may not be used or is none: its share gets status 500
	Filters  Filters `json:"filters,omitzero"`  // of its share alone
}

// Filters change a request on its way in and its answer on its way out.
type Filters struct {
	Request  *Edit    `json:"request,omitempty"`
	Response *Edit    `json:"response,omitempty"`
	Rewrite  *Rewrite `json:"rewrite,omitempty"`
	Mirrors  []Mirror `json:"mirrors,omitempty"`
}

// Edit changes headers: removes, sets, then adds.
type Edit struct {
	Set    []Header `json:"set,omitempty"`
	Add    []Header `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// Header is a header's name and value.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Rewrite changes where the backend thinks it is.
type Rewrite struct {
	Host string      `json:"host,omitempty"`
	Path *PathChange `json:"path,omitempty"`
}

// PathChange is another path.
type PathChange struct {
	Whole bool   `json:"whole,omitempty"` // the whole path; else the prefix that the rule has
	Value string `json:"value"`
}

// Redirect sends the client elsewhere; what is empty stays as it was.
type Redirect struct {
	Scheme string      `json:"scheme,omitempty"`
	Host   string      `json:"host,omitempty"`
	Port   int32       `json:"port,omitempty"`
	Path   *PathChange `json:"path,omitempty"`
	Status int         `json:"status"`
}

// Mirror sends a copy of requests to another service, whose answer nobody sees.
type Mirror struct {
	Backend     Backend `json:"backend"`
	Numerator   int32   `json:"numerator"` // of Denominator requests
	Denominator int32   `json:"denominator"`
}

// Respond is an answer that needs no backend.
type Respond struct {
	Status int    `json:"status"`
	Body   string `json:"body,omitempty"`
}

// Secrets calls f with the secret of each certificate.
func (p *Part) Secrets(f func(object.Key)) {
	for _, c := range p.Certificates {
		f(c.Secret)
	}
}

// Marshal returns the part's JSON, as sessions carry it (package wire).
func (p *Part) Marshal() ([]byte, error) { return json.Marshal(p) }

// Unmarshal is the inverse of Marshal.
func (p *Part) Unmarshal(b []byte) error { return json.Unmarshal(b, p) }

// DeepCopyObject returns a copy that shares the rules, which nobody changes.
func (p *Part) DeepCopyObject() runtime.Object {
	next := *p
	p.ObjectMeta.DeepCopyInto(&next.ObjectMeta)
	return &next
}

// Same reports whether two parts say the same.
func (p *Part) Same(o *Part) bool {
	return p.Since.Equal(&o.Since) && equality.Semantic.DeepEqual(p.Ports, o.Ports) &&
		equality.Semantic.DeepEqual(p.Certificates, o.Certificates) &&
		equality.Semantic.DeepEqual(p.Places, o.Places) && equality.Semantic.DeepEqual(p.Rules, o.Rules)
}
