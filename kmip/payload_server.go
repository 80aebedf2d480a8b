package kmip

import "allclear/kmip/ttlv"

// DiscoverVersionsRequest asks which protocol versions the server speaks.
type DiscoverVersionsRequest struct {
	Versions []Version // the client's, best first; empty: tell all
}

// DiscoverVersionsResponse tells the versions that both speak.
type DiscoverVersionsResponse struct {
	Versions []Version // best first
}

// QueryRequest asks what the server is and can do.
type QueryRequest struct {
	Functions    []QueryFunction
	ObjectGroups []string // KMIP 2.1; nil: absent
}

// QueryResponse tells what was asked for. Structures that nobody here looks into are kept as they are.
type QueryResponse struct {
	Operations            []Operation
	ObjectTypes           []ObjectType
	VendorIdentification  string
	ServerInformation     ttlv.Value // a structure of the vendor's making: see ServerTexts
	ApplicationNamespaces []string
	Extensions            []ttlv.Value
	AttestationTypes      []AttestationType
	RNGParameters         []ttlv.Value
	Profiles              []ttlv.Value
	Validations           []ttlv.Value
	Capabilities          []ttlv.Value
	ClientRegistrations   []ClientRegistrationMethod
	Defaults              ttlv.Value // KMIP 2.1
	ProtectionStorage     []ProtectionStorageMask
}

// ServerTexts answers all texts within the Server Information, in their order.
func (p *QueryResponse) ServerTexts() []string {
	return appendTexts(nil, p.ServerInformation, 0)
}

func appendTexts(list []string, v ttlv.Value, depth int) []string {
	if s, ok := v.Text(); ok {
		return append(list, s)
	}
	if v.Type != ttlv.TypeStructure || depth > ttlv.MaxDepth {
		return list
	}
	var d ttlv.Decoder
	for d.Reset(v.Body); d.More(); {
		_, inner := d.Any()
		list = appendTexts(list, inner, depth+1)
	}
	return list
}

// Operation is DiscoverVersions.
func (*DiscoverVersionsRequest) Operation() Operation { return OperationDiscoverVersions }

// Operation is DiscoverVersions.
func (*DiscoverVersionsResponse) Operation() Operation { return OperationDiscoverVersions }

// Operation is Query.
func (*QueryRequest) Operation() Operation { return OperationQuery }

// Operation is Query.
func (*QueryResponse) Operation() Operation { return OperationQuery }

func (e *enc) versions(list []Version) {
	for _, v := range list {
		e.version(v)
	}
}

func (d *dec) versions() []Version {
	var list []Version
	for d.Is(ttlv.TagProtocolVersion) {
		list = append(list, d.version())
	}
	return list
}

func (p *DiscoverVersionsRequest) encode(e *enc)  { e.versions(p.Versions) }
func (p *DiscoverVersionsRequest) decode(d *dec)  { p.Versions = d.versions() }
func (p *DiscoverVersionsResponse) encode(e *enc) { e.versions(p.Versions) }
func (p *DiscoverVersionsResponse) decode(d *dec) { p.Versions = d.versions() }

func (p *QueryRequest) encode(e *enc) {
	enums(e, ttlv.TagQueryFunction, p.Functions)
	if p.ObjectGroups != nil && e.two() {
		m := e.Begin(ttlv.TagObjectGroups)
		e.texts(ttlv.TagObjectGroup, p.ObjectGroups)
		e.End(m)
	}
}

func (p *QueryRequest) decode(d *dec) {
	if p.Functions = enumList[QueryFunction](d, ttlv.TagQueryFunction); len(p.Functions) == 0 {
		d.Fail("Query Function is missing")
	}
	if d.two() && d.Is(ttlv.TagObjectGroups) {
		d.Enter(ttlv.TagObjectGroups)
		p.ObjectGroups = append([]string{}, d.textList(ttlv.TagObjectGroup)...)
		d.Leave()
	}
}

func (p *QueryResponse) encode(e *enc) {
	enums(e, ttlv.TagOperation, p.Operations)
	enums(e, ttlv.TagObjectType, p.ObjectTypes)
	e.optText(ttlv.TagVendorIdentification, p.VendorIdentification)
	e.optValue(ttlv.TagServerInformation, p.ServerInformation)
	e.texts(ttlv.TagApplicationNamespace, p.ApplicationNamespaces)
	e.values(ttlv.TagExtensionInformation, p.Extensions)
	enums(e, ttlv.TagAttestationType, p.AttestationTypes)
	e.values(ttlv.TagRNGParameters, p.RNGParameters)
	e.values(ttlv.TagProfileInformation, p.Profiles)
	e.values(ttlv.TagValidationInformation, p.Validations)
	e.values(ttlv.TagCapabilityInformation, p.Capabilities)
	enums(e, ttlv.TagClientRegistrationMethod, p.ClientRegistrations)
	if e.two() {
		e.optValue(ttlv.TagDefaultsInformation, p.Defaults)
	}
	e.protection(ttlv.TagProtectionStorageMasks, p.ProtectionStorage)
}

func (p *QueryResponse) decode(d *dec) {
	p.Operations = enumList[Operation](d, ttlv.TagOperation)
	p.ObjectTypes = enumList[ObjectType](d, ttlv.TagObjectType)
	p.VendorIdentification = d.optText(ttlv.TagVendorIdentification)
	if d.Is(ttlv.TagServerInformation) {
		p.ServerInformation = d.structure(ttlv.TagServerInformation)
	}
	p.ApplicationNamespaces = d.textList(ttlv.TagApplicationNamespace)
	p.Extensions = d.structureList(ttlv.TagExtensionInformation)
	p.AttestationTypes = enumList[AttestationType](d, ttlv.TagAttestationType)
	p.RNGParameters = d.structureList(ttlv.TagRNGParameters)
	p.Profiles = d.structureList(ttlv.TagProfileInformation)
	p.Validations = d.structureList(ttlv.TagValidationInformation)
	p.Capabilities = d.structureList(ttlv.TagCapabilityInformation)
	p.ClientRegistrations = enumList[ClientRegistrationMethod](d, ttlv.TagClientRegistrationMethod)
	if d.two() && d.Is(ttlv.TagDefaultsInformation) {
		p.Defaults = d.structure(ttlv.TagDefaultsInformation)
	}
	p.ProtectionStorage = d.protection(ttlv.TagProtectionStorageMasks)
}
