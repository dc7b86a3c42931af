package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"sigs.k8s.io/knftables"

	"cofferdam.dev/tests/cluster/enforcer/internal/rules"
	"cofferdam.dev/tests/cluster/enforcer/internal/table"
)

// bridgeSwitch makes frames that are bridged from pod to pod pass the ip hooks; it is a switch of the namespace.
const bridgeSwitch = "/proc/sys/net/bridge/bridge-nf-call-iptables"

// showBridgedFrames turns the switch on. Without it pods of one node would reach each other unseen, so an enforcer
// that cannot turn it on does not run.
func showBridgedFrames() error {
	if err := os.WriteFile(bridgeSwitch, []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("bridged frames cannot be filtered (is br_netfilter there?): %w", err)
	}
	return nil
}

// tables is the enforcer's hand on the kernel.
type tables struct {
	ip     knftables.Interface
	bridge knftables.Interface
	// forget ends the tracked flows of addresses that changed hands.
	forget func([]netip.Addr) error
	// last is the text of the last transaction, and written the same unless the kernel is not trusted to hold it.
	last, written string
	// owners are the addresses' pods as last written.
	owners map[netip.Addr]string
}

// openTables finds nft and sees that it works here.
func openTables() (*tables, error) {
	ip, err := knftables.New(knftables.IPv4Family, table.Name)
	if err != nil {
		return nil, fmt.Errorf("nftables, family ip: %w", err)
	}
	bridge, err := knftables.New(knftables.BridgeFamily, table.Name)
	if err != nil {
		return nil, fmt.Errorf("nftables, family bridge: %w", err)
	}
	return &tables{ip: ip, bridge: bridge, forget: forgetFlows}, nil
}

// start sees that there is a fence before the API server has said anything: the one that an earlier enforcer left,
// or one that no pod address passes.
func (t *tables) start(ctx context.Context, podCIDR netip.Prefix) error {
	if err := t.writeBridge(ctx); err != nil {
		return err
	}
	_, err := t.ip.List(ctx, "chains")
	if !knftables.IsNotFound(err) {
		return err
	}
	_, err = t.replace(ctx, rules.Program{PodCIDR: podCIDR})
	return err
}

// writeBridge puts the table of family bridge into force, which depends on no policy.
func (t *tables) writeBridge(ctx context.Context) error {
	tx := t.bridge.NewTransaction()
	table.ReplaceBridge(tx)
	if err := t.bridge.Run(ctx, tx); err != nil {
		return fmt.Errorf("bridge table: %w", err)
	}
	return nil
}

// renew writes the bridge's table and makes the next program be written even if nothing changed: somebody else may
// have been at them.
func (t *tables) renew(ctx context.Context) error {
	t.written = ""
	return t.writeBridge(ctx)
}

// replace puts a program into force, and says whether it differs from the one before.
func (t *tables) replace(ctx context.Context, program rules.Program) (bool, error) {
	tx := t.ip.NewTransaction()
	table.Replace(tx, program)
	text := tx.String()
	if text != t.written {
		if err := t.ip.Run(ctx, tx); err != nil {
			return false, fmt.Errorf("ip table: %w", err)
		}
		t.written = text
	}
	lost := lostAddresses(t.owners, program.Owners)
	if text == t.last && len(lost) == 0 {
		return false, nil
	}
	t.last = text
	t.owners = program.Owners
	if err := t.forget(lost); err != nil {
		slog.Warn("flows of addresses that changed hands are still tracked", "addresses", lost, "error", err)
	}
	return true, nil
}

// remove takes both tables away.
func (t *tables) remove(ctx context.Context) error {
	for _, family := range []knftables.Interface{t.ip, t.bridge} {
		tx := family.NewTransaction()
		table.Remove(tx)
		if err := family.Run(ctx, tx); err != nil {
			return fmt.Errorf("remove table: %w", err)
		}
	}
	return nil
}

// lostAddresses are those that their pod no longer has.
func lostAddresses(before, after map[netip.Addr]string) []netip.Addr {
	var lost []netip.Addr
	for address, owner := range before {
		if after[address] != owner {
			lost = append(lost, address)
		}
	}
	return lost
}
