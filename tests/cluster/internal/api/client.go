// Package api asks the cluster's API server the few questions that bringing it up needs.
package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"cofferdam.dev/tests/cluster/internal/layout"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 16 << 20

// Client speaks as the administrator, through the forwarder.
type Client struct{ http http.Client }

// New reads the administrator's certificate.
func New(place layout.Layout) (*Client, error) {
	pair, err := tls.LoadX509KeyPair(place.Path("pki/admin.crt"), place.Path("pki/admin.key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(place.Path("pki/ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("pki/ca.crt holds no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}}
	return &Client{http: http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}

// Get decodes the JSON at path into answer; with a nil answer only the status matters.
func (c *Client) Get(ctx context.Context, path string, answer any) error {
	return c.do(ctx, http.MethodGet, path, answer)
}

// Delete removes the object at path.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.do(ctx, http.MethodDelete, path, nil)
}

func (c *Client) do(ctx context.Context, method, path string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, "https://"+layout.ForwardAddress+path, nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, response.Status, body)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(body, answer)
}

// Ready says whether the API server serves.
func (c *Client) Ready(ctx context.Context) error { return c.Get(ctx, "/readyz", nil) }

type conditions struct {
	Status struct {
		Conditions []struct{ Type, Status, Message string }
	}
}

// condition fails with the object's own message unless the condition is true.
func (c *Client) condition(ctx context.Context, path, wanted string) error {
	var object conditions
	if err := c.Get(ctx, path, &object); err != nil {
		return err
	}
	for _, condition := range object.Status.Conditions {
		if condition.Type != wanted {
			continue
		}
		if condition.Status == "True" {
			return nil
		}
		return fmt.Errorf("%s is %s: %s", wanted, condition.Status, condition.Message)
	}
	return fmt.Errorf("%s is not reported yet", wanted)
}

// NodeReady says whether the node takes pods.
func (c *Client) NodeReady(ctx context.Context) error {
	return c.NamedNodeReady(ctx, layout.NodeName)
}

// NamedNodeReady says whether the node of this name takes pods.
func (c *Client) NamedNodeReady(ctx context.Context, name string) error {
	return c.condition(ctx, "/api/v1/nodes/"+name, "Ready")
}

// DNSReady says whether names are served.
func (c *Client) DNSReady(ctx context.Context) error {
	return c.condition(ctx, "/apis/apps/v1/namespaces/kube-system/deployments/coredns", "Available")
}

// ReleasedVolumes lists the volumes whose claim is gone: they keep the old claim's data and take no new claim.
func (c *Client) ReleasedVolumes(ctx context.Context) ([]string, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct{ Phase string }
		}
	}
	if err := c.Get(ctx, "/api/v1/persistentvolumes", &list); err != nil {
		return nil, err
	}
	var released []string
	for _, volume := range list.Items {
		if volume.Status.Phase == "Released" || volume.Status.Phase == "Failed" {
			released = append(released, volume.Metadata.Name)
		}
	}
	return released, nil
}

// DeleteVolume removes a volume's object; its directory is the caller's.
func (c *Client) DeleteVolume(ctx context.Context, name string) error {
	return c.Delete(ctx, "/api/v1/persistentvolumes/"+name)
}
