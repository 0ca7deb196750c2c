# Rendered by mailctl at every boot from settings.env; changes here are lost.
# Language: https://www.rfc-editor.org/rfc/rfc5228
#
# Mail that fails DMARC where the domain's owner asks for quarantine goes to Junk. With p=reject
# it was refused already, but for the share that the owner exempts by pct=, which then is to be
# quarantined: https://www.rfc-editor.org/rfc/rfc7489#section-6.6.4
# The field is the one that mailimg-filter wrote: those of strangers in this name were taken out.
# Filing here ends it; the user's own filters see, and answer, only what arrives in the inbox.
require ["fileinto"];
if header :matches "Authentication-Results" "{{ hostname }}; dmarc=fail (p=* dis=quarantine)*" {
    fileinto "Junk";
}
