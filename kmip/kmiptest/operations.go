package kmiptest

import (
	"maps"
	"slices"

	"allclear/kmip"
	"allclear/kmip/ttlv"
)

// needs says who may ask for an operation.
type needs int

const (
	open    needs = iota // everybody
	reads                // accepted clients
	changes              // accepted clients, and not on a clone
)

// operation is one that the server can do.
type operation struct {
	since version // that brought it
	needs needs
	run   func(*exchange, *item) ([]*item, error)
}

// table lists the operations.
func table() map[kmip.Operation]operation {
	return map[kmip.Operation]operation{
		kmip.OperationDiscoverVersions: {kmip.V1_1, open, (*exchange).discoverVersions},
		kmip.OperationQuery:            {kmip.V1_0, open, (*exchange).query},

		kmip.OperationCreate:        {kmip.V1_0, changes, (*exchange).create},
		kmip.OperationCreateKeyPair: {kmip.V1_0, changes, (*exchange).createKeyPair},
		kmip.OperationRegister:      {kmip.V1_0, changes, (*exchange).register},
		kmip.OperationReKey:         {kmip.V1_0, changes, (*exchange).reKey},
		kmip.OperationReKeyKeyPair:  {kmip.V1_1, changes, (*exchange).reKeyKeyPair},
		kmip.OperationDeriveKey:     {kmip.V1_0, changes, (*exchange).deriveKey},
		kmip.OperationImport:        {kmip.V1_4, changes, (*exchange).importObject},
		kmip.OperationExport:        {kmip.V1_4, reads, (*exchange).export},
		kmip.OperationActivate:      {kmip.V1_0, changes, (*exchange).activate},
		kmip.OperationRevoke:        {kmip.V1_0, changes, (*exchange).revoke},
		kmip.OperationDestroy:       {kmip.V1_0, changes, (*exchange).destroy},
		kmip.OperationArchive:       {kmip.V1_0, changes, (*exchange).archive},
		kmip.OperationRecover:       {kmip.V1_0, changes, (*exchange).unarchive},

		kmip.OperationGet:                {kmip.V1_0, reads, (*exchange).get},
		kmip.OperationLocate:             {kmip.V1_0, reads, (*exchange).locate},
		kmip.OperationCheck:              {kmip.V1_0, reads, (*exchange).check},
		kmip.OperationObtainLease:        {kmip.V1_0, reads, (*exchange).obtainLease},
		kmip.OperationGetUsageAllocation: {kmip.V1_0, changes, (*exchange).getUsageAllocation},
		kmip.OperationGetAttributes:      {kmip.V1_0, reads, (*exchange).getAttributes},
		kmip.OperationGetAttributeList:   {kmip.V1_0, reads, (*exchange).getAttributeList},
		kmip.OperationAddAttribute:       {kmip.V1_0, changes, (*exchange).addAttribute},
		kmip.OperationModifyAttribute:    {kmip.V1_0, changes, (*exchange).modifyAttribute},
		kmip.OperationDeleteAttribute:    {kmip.V1_0, changes, (*exchange).deleteAttribute},
		kmip.OperationSetAttribute:       {kmip.V2_0, changes, (*exchange).setAttribute},

		kmip.OperationEncrypt:         {kmip.V1_2, reads, (*exchange).encrypt},
		kmip.OperationDecrypt:         {kmip.V1_2, reads, (*exchange).decrypt},
		kmip.OperationSign:            {kmip.V1_2, reads, (*exchange).sign},
		kmip.OperationSignatureVerify: {kmip.V1_2, reads, (*exchange).signatureVerify},
		kmip.OperationMAC:             {kmip.V1_2, reads, (*exchange).mac},
		kmip.OperationMACVerify:       {kmip.V1_2, reads, (*exchange).macVerify},
		kmip.OperationHash:            {kmip.V1_2, reads, (*exchange).hash},
		kmip.OperationRNGRetrieve:     {kmip.V1_2, reads, (*exchange).rngRetrieve},
		kmip.OperationRNGSeed:         {kmip.V1_2, reads, (*exchange).rngSeed},
	}
}

// operation finds one that the client may know of at all.
func (x *exchange) operation(op kmip.Operation) (operation, bool) {
	do, ok := x.s.table[op]
	return do, ok && x.version >= do.since && (x.o.Operations == nil || slices.Contains(x.o.Operations, op))
}

// discoverVersions answers the versions that both sides speak, in the client's order; all when it names none.
func (x *exchange) discoverVersions(in *item) ([]*item, error) {
	var out []*item
	asked := in.all(ttlv.TagProtocolVersion)
	for _, a := range asked {
		if v := readVersion(a); slices.Contains(x.o.Versions, v) {
			out = append(out, writeVersion(v))
		}
	}
	if len(asked) == 0 {
		for _, v := range slices.Backward(slices.Sorted(slices.Values(x.o.Versions))) {
			out = append(out, writeVersion(v))
		}
	}
	return out, nil
}

// query tells what was asked for (KMIP 1.4 section 4.25), as far as there is something to tell.
func (x *exchange) query(in *item) ([]*item, error) {
	fns := in.all(ttlv.TagQueryFunction)
	if len(fns) == 0 {
		return nil, refusef(reasonInvalidMessage, "a query without query function")
	}
	asked := func(f kmip.QueryFunction) bool {
		return slices.ContainsFunc(fns, func(it *item) bool { return it.enum() == uint32(f) })
	}
	var out []*item
	if asked(kmip.QueryFunctionQueryOperations) {
		for _, op := range slices.Sorted(maps.Keys(x.s.table)) {
			if _, ok := x.operation(op); ok {
				out = append(out, enum(ttlv.TagOperation, op))
			}
		}
	}
	if asked(kmip.QueryFunctionQueryObjects) {
		for _, t := range objectTypes() {
			if t.in(x.version) {
				out = append(out, enum(ttlv.TagObjectType, t.kind))
			}
		}
	}
	if asked(kmip.QueryFunctionQueryServerInformation) {
		out = append(out, x.serverInformation()...)
	}
	if asked(kmip.QueryFunctionQueryProfiles) && x.version >= kmip.V1_3 && x.version < kmip.V2_0 {
		out = append(out, structure(ttlv.TagProfileInformation,
			enum(ttlv.TagProfileName, kmip.ProfileNameBaselineServerBasicKMIPV1_2)))
	}
	if asked(kmip.QueryFunctionQueryRNGs) && x.version >= kmip.V1_3 {
		out = append(out, rngParameters())
	}
	return out, nil
}

// rngParameters tell that keys come from the operating system, which names no algorithm.
func rngParameters() *item {
	return structure(ttlv.TagRNGParameters, enum(ttlv.TagRNGAlgorithm, kmip.RNGAlgorithmUnspecified))
}

func (x *exchange) serverInformation() []*item {
	vendor, info := x.o.Vendor, structure(ttlv.TagServerInformation)
	if x.o.Role != StandAlone {
		role := "ServerType=" + string(x.o.Role)
		if x.o.RolePlace == InVendorIdentification {
			vendor += " " + role
		} else {
			info.add(text(tagServerType, role))
		}
	}
	out := []*item{text(ttlv.TagVendorIdentification, vendor)}
	if len(info.kids) > 0 {
		out = append(out, info)
	}
	return out
}

// tagServerType is of the range left to vendors: Server Information holds what its server's maker likes.
const tagServerType ttlv.Tag = 0x540001
