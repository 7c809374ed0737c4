package runtime

import (
	"context"
	"net/netip"

	"trireme/internal/kind"
)

// Addresses returns what the script gave the sandbox.
func (f *Fake) Addresses(ctx context.Context, id string) ([]netip.Addr, error) {
	if err := f.call(ctx, "Addresses", id, 0); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sandboxes[id]
	if s == nil {
		return nil, &kind.Error{Kind: kind.NotFound, Op: "asking the addresses of sandbox", Object: id}
	}
	return s.addresses, nil
}
