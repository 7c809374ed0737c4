package caller

import (
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/lru"
)

// Clients call the Kubernetes door as one user.
type Clients struct {
	Config *rest.Config
	Typed  kubernetes.Interface
	Custom dynamic.Interface
}

// clientsMax is how many users' clients are kept: to make them takes longer than most
// requests.
const clientsMax = 256

// Cache keeps the clients of those who came lately. It may be used by many goroutines.
type Cache struct{ kept *lru.Cache }

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{lru.New(clientsMax)} }

// Clients returns the clients of a user, by a key that is the same for the same user.
func (c *Cache) Clients(key string, config *rest.Config) (*Clients, error) {
	if have, ok := c.kept.Get(key); ok {
		return have.(*Clients), nil
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	own := rest.CopyConfig(config)
	own.ContentType, own.AcceptContentTypes = "application/json", "application/json"
	custom, err := dynamic.NewForConfig(own)
	if err != nil {
		return nil, err
	}
	made := &Clients{config, typed, custom}
	c.kept.Add(key, made)
	return made, nil
}
