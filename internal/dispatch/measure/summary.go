package measure

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// summary is what is read of an agent's /stats/summary.
type summary struct {
	Node use       `json:"node"`
	Pods []podPart `json:"pods"`
}

type podPart struct {
	Ref struct {
		Name      string    `json:"name"`
		Namespace string    `json:"namespace"`
		UID       types.UID `json:"uid"`
	} `json:"podRef"`
	Containers []containerPart `json:"containers"`
	Series     []seriesPart    `json:"userDefinedMetrics"`
}

type containerPart struct {
	Name string `json:"name"`
	use
}

// seriesPart is a series as the agent scraped it.
type seriesPart struct {
	Name   string            `json:"name"`
	Type   string            `json:"type"` // "gauge" or "cumulative"
	Labels map[string]string `json:"labels"`
	Value  float64           `json:"value"`
}

type use struct {
	CPU struct {
		Time  time.Time `json:"time"`
		Total uint64    `json:"usageCoreNanoSeconds"`
		Now   uint64    `json:"usageNanoCores"`
	} `json:"cpu"`
	Memory struct {
		WorkingSet uint64 `json:"workingSetBytes"`
	} `json:"memory"`
}

// answerMax bounds what is read of one agent.
const answerMax = 64 << 20

// agents asks agents over HTTPS.
type agents struct{ client *http.Client }

func newAgents(conf *tls.Config) agents {
	return agents{&http.Client{
		Timeout:       askFor,
		Transport:     &http.Transport{TLSClientConfig: conf, MaxIdleConnsPerHost: 1, IdleConnTimeout: 4 * Every},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ask returns what one agent says.
func (a agents) ask(ctx context.Context, address string) (*summary, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/stats/summary?scrape=true", nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for the summary: %s", resp.Status)
	}
	out := &summary{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, answerMax)).Decode(out); err != nil {
		return nil, fmt.Errorf("reading the summary: %w", err)
	}
	return out, nil
}
