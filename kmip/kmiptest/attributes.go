package kmiptest

import (
	"strings"

	"allclear/kmip/ttlv"
)

// rights says what a client may do with an attribute (KMIP 1.4 section 3, the tables "Attribute Rules").
type rights uint8

const (
	mayInit   rights = 1 << iota // set when the object is made
	mayAdd                       // add later
	mayModify                    //
	mayDelete                    //
	multiple                     // an object may have several
	// whilePreActive and whileActive bound mayAdd and mayModify to states.
	whilePreActive
	whileActive

	readOnly = rights(0)
	atBirth  = mayInit
	free     = mayInit | mayAdd | mayModify | mayDelete
)

// rule is what is known of an attribute.
type rule struct {
	tag    ttlv.Tag
	since  int // minor version of KMIP 1.x that brought it
	rights rights
}

// name is the attribute's name of KMIP 1.x.
func (r rule) name() string { return r.tag.String() }

// rules lists the attributes in the order in which they are answered.
var rules = [...]rule{
	{ttlv.TagUniqueIdentifier, 0, readOnly},
	{ttlv.TagName, 0, free | multiple},
	{ttlv.TagObjectType, 0, readOnly},
	{ttlv.TagCryptographicAlgorithm, 0, atBirth},
	{ttlv.TagCryptographicLength, 0, atBirth},
	{ttlv.TagCryptographicParameters, 0, free | multiple},
	{ttlv.TagCryptographicDomainParameters, 0, atBirth},
	{ttlv.TagCertificateType, 0, atBirth},
	{ttlv.TagCertificateLength, 1, readOnly},
	{ttlv.TagX_509CertificateIdentifier, 1, readOnly},
	{ttlv.TagX_509CertificateSubject, 1, readOnly},
	{ttlv.TagX_509CertificateIssuer, 1, readOnly},
	{ttlv.TagCertificateIdentifier, 0, readOnly},
	{ttlv.TagCertificateSubject, 0, readOnly},
	{ttlv.TagCertificateIssuer, 0, readOnly},
	{ttlv.TagDigitalSignatureAlgorithm, 1, atBirth},
	{ttlv.TagDigest, 0, readOnly | multiple},
	{ttlv.TagOperationPolicyName, 0, atBirth},
	{ttlv.TagCryptographicUsageMask, 0, atBirth},
	{ttlv.TagLeaseTime, 0, readOnly},
	{ttlv.TagUsageLimits, 0, free},
	{ttlv.TagState, 0, readOnly},
	{ttlv.TagInitialDate, 0, readOnly},
	{ttlv.TagActivationDate, 0, mayInit | mayAdd | mayModify | whilePreActive},
	{ttlv.TagProcessStartDate, 0, mayInit | mayAdd | mayModify | whilePreActive | whileActive},
	{ttlv.TagProtectStopDate, 0, mayInit | mayAdd | mayModify | whilePreActive | whileActive},
	{ttlv.TagDeactivationDate, 0, mayInit | mayAdd | mayModify | whilePreActive | whileActive},
	{ttlv.TagDestroyDate, 0, readOnly},
	{ttlv.TagCompromiseOccurrenceDate, 0, readOnly},
	{ttlv.TagCompromiseDate, 0, readOnly},
	{ttlv.TagRevocationReason, 0, readOnly},
	{ttlv.TagArchiveDate, 0, readOnly},
	{ttlv.TagObjectGroup, 0, free | multiple},
	{ttlv.TagFresh, 1, readOnly},
	{ttlv.TagLink, 0, free | multiple},
	{ttlv.TagApplicationSpecificInformation, 0, free | multiple},
	{ttlv.TagContactInformation, 0, free},
	{ttlv.TagLastChangeDate, 0, readOnly},
	{ttlv.TagAlternativeName, 2, free | multiple},
	{ttlv.TagKeyValuePresent, 2, readOnly},
	{ttlv.TagKeyValueLocation, 2, free | multiple},
	{ttlv.TagOriginalCreationDate, 2, atBirth},
	{ttlv.TagRandomNumberGenerator, 3, atBirth},
	{ttlv.TagPKCS_12FriendlyName, 4, free},
	{ttlv.TagDescription, 4, free},
	{ttlv.TagComment, 4, free},
	{ttlv.TagSensitive, 4, mayInit | mayAdd | mayModify},
	{ttlv.TagAlwaysSensitive, 4, readOnly},
	{ttlv.TagExtractable, 4, mayInit | mayAdd | mayModify},
	{ttlv.TagNeverExtractable, 4, readOnly},
}

// ruleOf finds the rule of an attribute by its name of KMIP 1.x.
func ruleOf(name string) (rule, bool) {
	for _, r := range rules {
		if r.name() == name {
			return r, true
		}
	}
	return rule{}, false
}

// custom tells whether a name is one of those that clients (x-) and servers (y-) make up (KMIP 1.4 section 3.39).
func custom(name string) bool { return strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "y-") }

// knows tells whether clients of the version know the attribute.
func knows(v version, name string) bool {
	if custom(name) {
		return true
	}
	r, ok := ruleOf(name)
	if !ok {
		tag, known := ttlv.TagByName(name)
		return v.Major() >= 2 && (!known || tag.In(v.Major()))
	}
	if v.Major() >= 2 {
		return r.tag.In(2)
	}
	return r.since <= v.Minor()
}

// rightsOf answers what clients may do with an attribute; one that KMIP 1.4 has not is theirs.
func rightsOf(name string) rights {
	if r, ok := ruleOf(name); ok {
		return r.rights
	}
	if strings.HasPrefix(name, "y-") {
		return readOnly
	}
	return free | multiple
}

// attribute is one instance of an attribute.
type attribute struct {
	name  string // of KMIP 1.x: "Cryptographic Length", "x-owner"
	index int32  // among those of the name
	value *item  // tagged Attribute Value
	// vendor is set for a vendor attribute of KMIP 2.x whose vendor is not "x" or "y".
	vendor string
}

// clean collapses blanks: the published OASIS cases have names with several in a row.
func clean(name string) string {
	if !strings.Contains(name, "  ") && strings.TrimSpace(name) == name {
		return name
	}
	return strings.Join(strings.Fields(name), " ")
}

// encode answers the attribute as clients of the version read it.
func (a attribute) encode(v version) *item {
	if v.Major() >= 2 {
		return a.encode2()
	}
	out := structure(ttlv.TagAttribute, text(ttlv.TagAttributeName, a.name))
	if a.index > 0 {
		out.add(integer(ttlv.TagAttributeIndex, a.index))
	}
	return out.add(a.value.retag(ttlv.TagAttributeValue))
}

func (a attribute) encode2() *item {
	if tag, ok := ttlv.TagByName(a.name); ok && !custom(a.name) {
		return a.value.retag(tag)
	}
	vendor, name := a.vendor, a.name
	if vendor == "" {
		vendor, name, _ = strings.Cut(a.name, "-")
	}
	return structure(ttlv.TagAttribute, text(ttlv.TagVendorIdentification, vendor), text(ttlv.TagAttributeName, name),
		a.value.retag(ttlv.TagAttributeValue))
}

// decodeAttribute reads an Attribute of KMIP 1.x, or what stands in Attributes, New Attribute or Current Attribute of
// KMIP 2.x. Its index is -1 when none was given.
func decodeAttribute(v version, it *item) (attribute, error) {
	if v.Major() >= 2 && it.tag != ttlv.TagAttribute {
		if !it.tag.In(v.Major()) {
			return attribute{}, refusef(reasonInvalidField, "%s is no attribute", it.tag.ID())
		}
		return attribute{name: it.tag.String(), index: -1, value: it.retag(ttlv.TagAttributeValue)}, nil
	}
	a := attribute{name: clean(it.kid(ttlv.TagAttributeName).text()), index: -1, value: it.kid(ttlv.TagAttributeValue)}
	if v.Major() >= 2 {
		switch vendor := it.kid(ttlv.TagVendorIdentification).text(); vendor {
		case "x", "y":
			a.name = vendor + "-" + a.name
		default:
			a.vendor = vendor
		}
	}
	if n := it.kid(ttlv.TagAttributeIndex); n != nil {
		a.index = n.integer()
	}
	if a.name == "" || a.index < -1 {
		return attribute{}, refusef(reasonInvalidField, "an attribute without name, or with a negative index")
	}
	return a, nil
}

// decodeAttributes reads all attributes below a structure.
func decodeAttributes(v version, in *item) ([]attribute, error) {
	var out []attribute
	if in == nil {
		return nil, nil
	}
	for _, k := range in.kids {
		if v.Major() < 2 && k.tag != ttlv.TagAttribute {
			continue
		}
		a, err := decodeAttribute(v, k)
		if err != nil {
			return nil, err
		}
		if a.value == nil {
			return nil, refusef(reasonInvalidField, "attribute %q has no value", a.name)
		}
		out = append(out, a)
	}
	return out, nil
}
