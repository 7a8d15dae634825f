//! The licences that cards name, as `license:` of the Hub's cards spells them, and what each asks of whoever builds upon it.
//!
//! A row says what its text is commonly understood to ask; it is no counsel's opinion, and the texts were not opened anew for
//! it. What nobody judged, or a text leaves open, stands as [`Onward::Unread`]: then nothing is concluded from it. The identifiers are the Hub's; those of SPDX, where they differ, stand beside them.

/// Under what a work may stand that builds upon another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onward {
    /// Under anything.
    Any,
    /// Under one of these.
    Under(&'static [&'static str]),
    /// Under this licence, or one that passes its restrictions of use on word for word.
    Restricted,
    /// Under nothing: nobody may pass on what builds upon it.
    Never,
    /// The text was not judged, or says different things in different cases.
    Unread,
}

/// What is known of a licence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Licence {
    /// As cards name it.
    pub id: &'static str,
    /// As SPDX names it, if it does so otherwise.
    pub spdx: Option<&'static str>,
    /// What may be built upon it.
    pub onward: Onward,
    /// Whether its authors have to be named, and the notice kept.
    pub attribution: bool,
    /// Whether changes have to be stated.
    pub changes: bool,
    /// Whether it is for purposes alone that earn nothing.
    pub non_commercial: bool,
    /// Whether it forbids uses, and has whoever passes it on forbid them too.
    pub restricts: bool,
    /// What it says about names.
    pub naming: Option<&'static str>,
    /// Where its text stands.
    pub origin: &'static str,
}

const fn row(id: &'static str, onward: Onward, origin: &'static str) -> Licence {
    Licence {
        id,
        spdx: None,
        onward,
        attribution: true,
        changes: false,
        non_commercial: false,
        restricts: matches!(onward, Onward::Restricted),
        naming: None,
        origin,
    }
}

impl Licence {
    const fn spdx(mut self, id: &'static str) -> Self {
        self.spdx = Some(id);
        self
    }

    const fn free(mut self) -> Self {
        self.attribution = false;
        self
    }

    const fn changes(mut self) -> Self {
        self.changes = true;
        self
    }

    const fn non_commercial(mut self) -> Self {
        self.non_commercial = true;
        self
    }

    const fn named(mut self, naming: &'static str) -> Self {
        self.naming = Some(naming);
        self
    }
}

use Onward::{Any, Never, Restricted, Under, Unread};

const CC: &str = "https://creativecommons.org/licenses/";
const OSI: &str = "https://opensource.org/licenses";
const GNU: &str = "https://www.gnu.org/licenses/";
const HUB: &str = "https://huggingface.co/docs/hub/repositories-licenses";
const RAIL: &str = "https://www.licenses.ai/";
const LLAMA: &str = "say 'Built with Llama' where people see it, and begin the model's name with 'Llama'";

/// Every licence that is known, by identifier.
pub const TABLE: &[Licence] = &[
    row("0bsd", Any, OSI).free(),
    row("afl-3.0", Any, OSI).changes(),
    row("agpl-3.0", Under(&["agpl-3.0"]), GNU).changes().spdx("agpl-3.0-only"),
    row("apache-2.0", Any, "https://www.apache.org/licenses/LICENSE-2.0").changes(),
    row("apple-amlr", Unread, HUB),
    row("apple-ascl", Unread, HUB),
    row("artistic-2.0", Unread, OSI),
    row("bigcode-openrail-m", Restricted, "https://www.bigcode-project.org/docs/pages/bigcode-openrail/").changes(),
    row("bigscience-bloom-rail-1.0", Restricted, "https://huggingface.co/spaces/bigscience/license").changes(),
    row("bigscience-openrail-m", Restricted, "https://www.licenses.ai/blog/2022/8/26/bigscience-open-rail-m-license")
        .changes(),
    row("blueoak-1.0.0", Any, "https://blueoakcouncil.org/license/1.0.0"),
    row("bsd", Unread, OSI),
    row("bsd-2-clause", Any, OSI),
    row("bsd-3-clause", Any, OSI),
    row("bsd-3-clause-clear", Any, "https://spdx.org/licenses/BSD-3-Clause-Clear.html"),
    row("bsl-1.0", Any, OSI),
    row("c-uda", Unread, HUB),
    row("cc", Unread, CC),
    row("cc-by-1.0", Any, CC).changes(),
    row("cc-by-2.0", Any, CC).changes(),
    row("cc-by-2.5", Any, CC).changes(),
    row("cc-by-3.0", Any, CC).changes(),
    row("cc-by-4.0", Any, CC).changes(),
    row("cc-by-nc-1.0", Any, CC).changes().non_commercial(),
    row("cc-by-nc-2.0", Any, CC).changes().non_commercial(),
    row("cc-by-nc-2.5", Any, CC).changes().non_commercial(),
    row("cc-by-nc-3.0", Any, CC).changes().non_commercial(),
    row("cc-by-nc-4.0", Any, CC).changes().non_commercial(),
    row("cc-by-nc-nd-2.0", Never, CC).non_commercial(),
    row("cc-by-nc-nd-2.5", Never, CC).non_commercial(),
    row("cc-by-nc-nd-3.0", Never, CC).non_commercial(),
    row("cc-by-nc-nd-4.0", Never, CC).non_commercial(),
    row("cc-by-nc-sa-2.0", Under(&["cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"]), CC)
        .changes()
        .non_commercial(),
    row("cc-by-nc-sa-2.5", Under(&["cc-by-nc-sa-2.5", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"]), CC)
        .changes()
        .non_commercial(),
    row("cc-by-nc-sa-3.0", Under(&["cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"]), CC).changes().non_commercial(),
    row("cc-by-nc-sa-4.0", Under(&["cc-by-nc-sa-4.0"]), CC).changes().non_commercial(),
    row("cc-by-nd-2.0", Never, CC),
    row("cc-by-nd-2.5", Never, CC),
    row("cc-by-nd-3.0", Never, CC),
    row("cc-by-nd-4.0", Never, CC),
    row("cc-by-sa-2.0", Under(&["cc-by-sa-2.0", "cc-by-sa-2.5", "cc-by-sa-3.0", "cc-by-sa-4.0"]), CC).changes(),
    row("cc-by-sa-2.5", Under(&["cc-by-sa-2.5", "cc-by-sa-3.0", "cc-by-sa-4.0"]), CC).changes(),
    row("cc-by-sa-3.0", Under(&["cc-by-sa-3.0", "cc-by-sa-4.0"]), CC).changes(),
    // Creative Commons declared version 3 of the GPL compatible in this one direction.
    row("cc-by-sa-4.0", Under(&["cc-by-sa-4.0", "gpl-3.0"]), CC).changes(),
    row("cc0-1.0", Any, "https://creativecommons.org/publicdomain/zero/1.0/").free(),
    row("cdla-permissive-1.0", Any, "https://cdla.dev/permissive-1-0/").changes(),
    row("cdla-permissive-2.0", Any, "https://cdla.dev/permissive-2-0/"),
    row("cdla-sharing-1.0", Under(&["cdla-sharing-1.0"]), "https://cdla.dev/sharing-1-0/").changes(),
    row("creativeml-openrail-m", Restricted, "https://huggingface.co/spaces/CompVis/stable-diffusion-license")
        .changes(),
    row("deepfloyd-if-license", Unread, HUB),
    row("deepseek", Restricted, "https://github.com/deepseek-ai/DeepSeek-LLM/blob/main/LICENSE-MODEL").changes(),
    row("ecl-2.0", Any, OSI).changes(),
    row("epl-1.0", Under(&["epl-1.0"]), "https://www.eclipse.org/legal/epl/"),
    row("epl-2.0", Under(&["epl-2.0"]), "https://www.eclipse.org/legal/epl-2.0/"),
    row("etalab-2.0", Any, "https://www.etalab.gouv.fr/licence-ouverte-open-licence/"),
    row("eupl-1.1", Unread, "https://joinup.ec.europa.eu/collection/eupl"),
    row("eupl-1.2", Unread, "https://joinup.ec.europa.eu/collection/eupl"),
    row("fair-noncommercial-research-license", Unread, HUB),
    row("flux-1-dev-non-commercial-license", Unread, "https://huggingface.co/black-forest-labs/FLUX.1-dev")
        .non_commercial(),
    row("gemma", Restricted, "https://ai.google.dev/gemma/terms").changes(),
    row("gfdl", Unread, GNU),
    row("gpl", Unread, GNU),
    // Whether later versions are meant, the short name does not say.
    row("gpl-2.0", Under(&["gpl-2.0"]), GNU).changes().spdx("gpl-2.0-only"),
    row("gpl-3.0", Under(&["gpl-3.0", "agpl-3.0"]), GNU).changes().spdx("gpl-3.0-only"),
    row("grok2-community", Unread, HUB),
    row("h-research", Unread, HUB),
    row("intel-research", Unread, HUB),
    row("isc", Any, OSI),
    row("lgpl", Unread, GNU),
    row("lgpl-2.1", Under(&["lgpl-2.1", "gpl-2.0", "gpl-3.0"]), GNU).changes().spdx("lgpl-2.1-only"),
    row("lgpl-3.0", Under(&["lgpl-3.0", "gpl-3.0", "agpl-3.0"]), GNU).changes().spdx("lgpl-3.0-only"),
    row("lgpl-lr", Unread, HUB),
    row("llama2", Restricted, "https://ai.meta.com/llama/license/"),
    row("llama3", Restricted, "https://www.llama.com/llama3/license/").named(LLAMA),
    row("llama3.1", Restricted, "https://www.llama.com/llama3_1/license/").named(LLAMA),
    row("llama3.2", Restricted, "https://www.llama.com/llama3_2/license/").named(LLAMA),
    row("llama3.3", Restricted, "https://www.llama.com/llama3_3/license/").named(LLAMA),
    row("llama4", Restricted, "https://www.llama.com/llama4/license/").named(LLAMA),
    row("lppl-1.3c", Unread, "https://www.latex-project.org/lppl/"),
    row("mit", Any, OSI),
    row("mit-0", Any, OSI).free(),
    row("mnpl", Unread, "https://mistral.ai/licenses/MNPL-0.1.md").non_commercial(),
    row(
        "mpl-2.0",
        Under(&["mpl-2.0", "gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0"]),
        "https://www.mozilla.org/MPL/2.0/",
    ),
    row("mrl", Unread, "https://mistral.ai/licenses/MRL-0.1.md").non_commercial(),
    row("ms-pl", Unread, OSI),
    row("ncsa", Any, OSI),
    row(
        "nvidia-open-model-license",
        Unread,
        "https://www.nvidia.com/en-us/agreements/enterprise-software/nvidia-open-model-license/",
    ),
    row("odbl", Under(&["odbl"]), "https://opendatacommons.org/licenses/odbl/").spdx("odbl-1.0"),
    row("odc-by", Any, "https://opendatacommons.org/licenses/by/").spdx("odc-by-1.0"),
    row("ofl-1.1", Under(&["ofl-1.1"]), "https://openfontlicense.org/"),
    row("openmdw-1.0", Any, "https://openmdw.ai/license/"),
    row("openrail", Restricted, RAIL),
    row("openrail++", Restricted, RAIL).changes(),
    row("osl-3.0", Under(&["osl-3.0"]), OSI).changes(),
    row("pddl", Any, "https://opendatacommons.org/licenses/pddl/").free().spdx("pddl-1.0"),
    row("postgresql", Any, OSI),
    row("qwen", Unread, "https://huggingface.co/Qwen/Qwen2.5-72B/blob/main/LICENSE"),
    row("qwen-research", Unread, "https://huggingface.co/Qwen/Qwen2.5-3B/blob/main/LICENSE").non_commercial(),
    row("stabilityai-ai-community", Unread, "https://stability.ai/license"),
    row("tongyi-qianwen", Unread, "https://huggingface.co/Qwen/Qwen1.5-72B/blob/main/LICENSE"),
    row("unlicense", Any, "https://unlicense.org/").free(),
    row("upl-1.0", Any, OSI),
    row("wtfpl", Any, "http://www.wtfpl.net/").free(),
    row("zlib", Any, OSI).changes(),
];

/// The licence of this identifier, of the Hub or of SPDX.
#[must_use]
pub fn find(id: &str) -> Option<&'static Licence> {
    let id = id.trim().to_ascii_lowercase();
    let later = id.strip_suffix("-or-later");
    TABLE.iter().find(|licence| licence.id == id || licence.spdx == Some(&id) || later == Some(licence.id))
}
