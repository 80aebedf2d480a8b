package app

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"allclear/internal/agent"
	"allclear/internal/api"
	"allclear/internal/check"
	"allclear/internal/fault"
	"allclear/internal/notify"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem"
	"allclear/internal/subsystem/backup"
	"allclear/internal/subsystem/host"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/subsystem/watch"
	"allclear/internal/wire"
)

// Catalogue is what is known of every fault code, without an agent.
func Catalogue() *fault.Catalogue {
	c, err := fault.NewCatalogue(slices.Concat(agent.Faults(), backup.Faults(), check.Faults(), host.Faults(), keyserver.Faults(), notify.Faults(), watch.Faults())...)
	if err != nil {
		panic(fmt.Sprintf("the catalogue is wrong: %v", err)) // a defect of this program, found by any test
	}
	return c
}

// subsystems are those of an agent without a configuration, to read what they
// declare.
func subsystems() []subsystem.Subsystem {
	return []subsystem.Subsystem{
		new(backup.Backup),
		new(keyserver.KeyServers),
		watch.New(watch.Options{}),
		host.New(host.Options{Pruner: noPruner{}}, nil),
		teller{notify.New(notify.Options{}, nil)},
	}
}

// Routes are the paths of an agent's API.
func Routes() []api.Route { return api.Routes(subsystems()) }

// Drills are the codes that a drill makes happen.
func Drills() []fault.Code {
	var codes []fault.Code
	for _, s := range subsystems() {
		if d, ok := s.(subsystem.Driller); ok {
			for _, drill := range d.Drills() {
				codes = append(codes, drill.Code)
			}
		}
	}
	return codes
}

// Actions names every action of every subsystem as SUBSYSTEM/ACTION.
func Actions() []string {
	var names []string
	for _, s := range subsystems() {
		if a, ok := s.(subsystem.Actor); ok {
			for _, action := range a.Actions() {
				names = append(names, s.Name()+"/"+action.Name)
			}
		}
	}
	return names
}

// Policies names the built-in SSH policies.
func Policies() []string {
	var names []string
	for _, p := range sshpolicy.Builtins() {
		names = append(names, p.Name)
	}
	return names
}

// number is the version of the program; a release sets it at link time.
var number = "0.1.0-dev"

// Version says what this program was built from.
func Version() wire.Version {
	v := wire.Version{Version: number}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	var os, arch string
	for _, s := range info.Settings {
		switch s.Key {
		case "GOOS":
			os = s.Value
		case "GOARCH":
			arch = s.Value
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		case "vcs.time":
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				v.Time = &t
			}
		}
	}
	v.Platform = os + "/" + arch
	return v
}
