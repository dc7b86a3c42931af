package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"cofferdam.dev/tests/cluster/internal/api"
	"cofferdam.dev/tests/cluster/internal/layout"
	"cofferdam.dev/tests/cluster/internal/process"
)

// Status is how the cluster is.
type Status struct {
	// Running is true if `up` came to its end, every process lives and the node is ready.
	Running       bool              `json:"running"`
	State         string            `json:"state"`
	StartedAt     *time.Time        `json:"startedAt,omitempty"`
	NetworkPolicy bool              `json:"networkPolicy"`
	Node          NodeStatus        `json:"node"`
	Addresses     map[string]string `json:"addresses,omitempty"`
	Processes     []ProcessStatus   `json:"processes,omitempty"`
	// Remains lists what is left of a cluster that was not brought down.
	Remains []string `json:"remains,omitempty"`
}

// NodeStatus is the node's name, and why it is not ready if it is not.
type NodeStatus struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	Message string `json:"message,omitempty"`
}

// ProcessStatus is one process.
type ProcessStatus struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Alive bool   `json:"alive"`
	Log   string `json:"log"`
}

// Status looks, and changes nothing.
func (c *Cluster) Status(ctx context.Context) (Status, error) {
	status := Status{State: c.Layout.State, Node: NodeStatus{Name: layout.NodeName}}
	current, err := c.load()
	if err != nil {
		return status, err
	}
	if current == nil {
		status.Remains = c.Remains()
		return status, nil
	}
	status.StartedAt, status.NetworkPolicy = &current.StartedAt, current.NetworkPolicy
	status.Running = current.Complete
	for _, record := range current.Processes {
		alive := record.Alive()
		status.Running = status.Running && alive
		status.Processes = append(status.Processes, ProcessStatus{Name: record.Name, PID: record.PID, Alive: alive, Log: c.Layout.Log(record.Name)})
	}
	if record := current.Kwok; record != nil {
		status.Processes = append(status.Processes, ProcessStatus{Name: record.Name, PID: record.PID, Alive: record.Alive(), Log: c.Layout.Log(record.Name)})
	}
	status.Addresses = map[string]string{
		"kubeconfig": c.Layout.Kubeconfig(), "api": "https://" + layout.ForwardAddress, "node": layout.NodeIP,
		"pods": layout.NodePodCIDR, "services": layout.ServiceCIDR, "dns": layout.DNSServiceIP, "containerd": c.Layout.Socket(),
	}
	status.Node.Ready, status.Node.Message = c.nodeStatus(ctx)
	status.Running = status.Running && status.Node.Ready
	return status, nil
}

func (c *Cluster) nodeStatus(ctx context.Context) (ready bool, message string) {
	client, err := api.New(c.Layout)
	if err == nil {
		err = client.NodeReady(ctx)
	}
	if err != nil {
		return false, err.Error()
	}
	return true, ""
}

// WriteJSON writes the status for programs.
func (s Status) WriteJSON(output io.Writer) error {
	encoder := json.NewEncoder(output)
	encoder.SetIndent("", "  ")
	return encoder.Encode(s)
}

// WriteText writes the status for people.
func (s Status) WriteText(output io.Writer) error {
	table := tabwriter.NewWriter(output, 0, 0, 2, ' ', 0)
	if s.StartedAt == nil {
		fmt.Fprintln(table, "there is no cluster")
		for _, remains := range s.Remains {
			fmt.Fprintf(table, "left over:\t%s\n", remains)
		}
		return table.Flush()
	}
	fmt.Fprintf(table, "running:\t%v\nstate:\t%s\nstarted:\t%s\n", s.Running, s.State, s.StartedAt.Format(time.DateTime))
	fmt.Fprintf(table, "network policy:\t%s\n", map[bool]string{true: "enforced", false: "ignored"}[s.NetworkPolicy])
	fmt.Fprintf(table, "node:\t%s ready=%v %s\n", s.Node.Name, s.Node.Ready, s.Node.Message)
	for _, name := range []string{"kubeconfig", "api", "node", "pods", "services", "dns", "containerd"} {
		fmt.Fprintf(table, "%s:\t%s\n", name, s.Addresses[name])
	}
	for _, p := range s.Processes {
		fmt.Fprintf(table, "%s:\tpid %d %s %s\n", p.Name, p.PID, map[bool]string{true: "alive", false: "DEAD"}[p.Alive], p.Log)
	}
	return table.Flush()
}

// Exec runs a command inside the node, with its mounts and network, or in the internet's network.
func (c *Cluster) Exec(internet bool, command []string) error {
	current, err := c.load()
	if err != nil {
		return err
	}
	if current == nil {
		return fmt.Errorf("there is no cluster; `cluster up` makes one")
	}
	name := layout.NodeNamespace
	if internet {
		name = layout.InternetNamespace
	}
	return process.Run(c.place(current, name), append(os.Environ(), c.environment()...), command)
}
