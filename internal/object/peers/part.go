package peers

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Part is those members of a group that run on one node. Its namespace is the
// group's ID, its name the node's. It is no kind of the API's: no door shows it.
type Part struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Members           []Member `json:"members"` // sorted, each once
}

// Member is a pod's address, and in a group of a named port that port.
type Member struct {
	Address  netip.Addr      `json:"address"`
	Protocol corev1.Protocol `json:"protocol,omitempty"`
	Port     uint16          `json:"port,omitempty"`
}

// Compare orders members by address, protocol and port.
func (m Member) Compare(o Member) int {
	return cmp.Or(m.Address.Compare(o.Address), strings.Compare(string(m.Protocol), string(o.Protocol)), cmp.Compare(m.Port, o.Port))
}

// DeepCopyObject is a method of runtime.Object.
func (p *Part) DeepCopyObject() runtime.Object {
	out := *p
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Members = slices.Clone(p.Members)
	return &out
}

// The encoding is protobuf: the metadata, then bytes for each member. These are
// the address, 4 or 16 of them, and where there is a port the protocol's number
// and the port, 3 more.
const (
	fieldMeta   protowire.Number = 1
	fieldMember protowire.Number = 2
	portBytes                    = 3
)

var numbers = map[corev1.Protocol]byte{corev1.ProtocolTCP: 6, corev1.ProtocolUDP: 17, corev1.ProtocolSCTP: 132}

// Size is a method of the messages that the store and sessions carry, as are the
// others below.
func (p *Part) Size() int {
	n := protowire.SizeTag(fieldMeta) + protowire.SizeBytes(p.ObjectMeta.Size())
	for _, m := range p.Members {
		n += protowire.SizeTag(fieldMember) + protowire.SizeBytes(m.size())
	}
	return n
}

func (m Member) size() int {
	n := m.Address.BitLen() / 8
	if m.Port != 0 {
		n += portBytes
	}
	return n
}

// Marshal returns the part's encoding.
func (p *Part) Marshal() ([]byte, error) {
	b := make([]byte, p.Size())
	_, err := p.MarshalToSizedBuffer(b)
	return b, err
}

// MarshalToSizedBuffer writes the encoding to the end of b and returns its length.
func (p *Part) MarshalToSizedBuffer(b []byte) (int, error) {
	meta, err := p.ObjectMeta.Marshal()
	if err != nil {
		return 0, err
	}
	size := p.Size()
	out := b[len(b)-size : len(b)-size : len(b)]
	out = protowire.AppendTag(out, fieldMeta, protowire.BytesType)
	out = protowire.AppendBytes(out, meta)
	for _, m := range p.Members {
		out = protowire.AppendTag(out, fieldMember, protowire.BytesType)
		out = protowire.AppendVarint(out, uint64(m.size()))
		out = append(out, m.Address.AsSlice()...)
		if m.Port != 0 {
			out = append(out, numbers[m.Protocol], byte(m.Port>>8), byte(m.Port))
		}
	}
	return size, nil
}

// Unmarshal reads an encoding. Fields it does not know are passed over.
func (p *Part) Unmarshal(b []byte) error {
	*p = Part{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if kind != protowire.BytesType || number != fieldMeta && number != fieldMember {
			if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if number == fieldMeta {
			if err := p.ObjectMeta.Unmarshal(value); err != nil {
				return err
			}
			continue
		}
		m, err := readMember(value)
		if err != nil {
			return err
		}
		p.Members = append(p.Members, m)
	}
	return nil
}

func readMember(b []byte) (m Member, err error) {
	if n := len(b) - portBytes; n == 4 || n == 16 {
		for name, number := range numbers {
			if number == b[n] {
				m.Protocol = name
			}
		}
		m.Port = uint16(b[n+1])<<8 | uint16(b[n+2])
		if m.Protocol == "" || m.Port == 0 {
			return m, fmt.Errorf("a peer group's member has port %d of protocol %d", m.Port, b[n])
		}
		b = b[:n]
	}
	var ok bool
	if m.Address, ok = netip.AddrFromSlice(b); !ok {
		return m, fmt.Errorf("a peer group's member has an address of %d bytes", len(b))
	}
	return m, nil
}
