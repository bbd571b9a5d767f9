"""Names that many domains share; a label template refers to them in braces."""

POOLS: dict[str, tuple[str, ...]] = {
    name: tuple(words.split(","))
    for name, words in {
        "first": (
            "Aisha,Alan,Amara,Anna,Ben,Carla,Chen,Clara,Daniel,Deepa,Diego,Elena,Emeka,Emil,Farah,Fiona,"
            "George,Grace,Hana,Hugo,Ines,Isaac,Ivan,Jana,Joel,Jonas,Julia,Kamal,Karen,Kofi,Lars,Laura,"
            "Leila,Lucas,Maria,Marek,Mei,Mina,Nadia,Nils,Nora,Olga,Omar,Oscar,Paula,Pedro,Petra,Priya,"
            "Rafael,Rosa,Ruth,Samir,Sara,Sven,Tariq,Teresa,Thomas,Uma,Vera,Victor,Wei,Yara,Yusuf,Zoe"
        ),
        "last": (
            "Abbott,Adeyemi,Ahmed,Almeida,Andersen,Bakker,Banerjee,Becker,Bell,Bianchi,Brandt,Carter,"
            "Castillo,Cohen,Costa,Dahl,Dubois,Eriksen,Evans,Farouk,Fischer,Foster,Garcia,Grant,Haddad,"
            "Hansen,Hoffman,Ibrahim,Ito,Jansen,Kaya,Keller,Khan,Kowalski,Kumar,Lambert,Larsen,Lee,Lopez,"
            "Marin,Meyer,Moreau,Murphy,Nakamura,Novak,Nowak,Okafor,Olsen,Osei,Park,Patel,Petrov,Quinn,"
            "Reyes,Rossi,Sato,Schmidt,Shah,Silva,Singh,Soto,Suzuki,Tanaka,Torres,Turner,Vogel,Walsh,Weber,"
            "Wood,Yilmaz,Young,Zhang"
        ),
        "place": (
            "Alder,Ashford,Aspen,Birchwood,Blackwater,Bramley,Brook,Calder,Carrow,Cedar,Clayton,Coldwell,"
            "Corran,Dalby,Denholm,Eastleigh,Elmstead,Fairview,Fenwick,Glenmore,Granby,Greystone,Harrow,"
            "Hazel,Heron,Holloway,Ivory,Juniper,Kestrel,Kirkby,Langdon,Larkhill,Linden,Lowell,Maple,Marlow,"
            "Milford,Norwood,Oakley,Orchard,Penrose,Pinehurst,Quarry,Ravenna,Redfern,Rowan,Saltmarsh,Selby,"
            "Silverdale,Stanley,Stonebridge,Summerfield,Swanley,Thornbury,Tilbury,Upton,Walden,Westbrook,"
            "Whitfield,Willow,Winslow,Yarrow"
        ),
        "city": (
            "Accra,Adelaide,Antwerp,Athens,Auckland,Bergen,Bilbao,Bogota,Boston,Bristol,Brno,Busan,Cairo,"
            "Calgary,Cardiff,Chennai,Chicago,Cork,Dakar,Denver,Dublin,Durban,Fukuoka,Genoa,Ghent,Glasgow,"
            "Graz,Haifa,Halifax,Hanoi,Helsinki,Izmir,Jaipur,Kigali,Krakow,Lagos,Leeds,Leipzig,Lima,Lisbon,"
            "Lyon,Malaga,Manila,Mombasa,Montreal,Nagoya,Nairobi,Naples,Nice,Osaka,Oslo,Ottawa,Perth,Porto,"
            "Prague,Quito,Riga,Rotterdam,Salvador,Santiago,Seattle,Seville,Split,Tallinn,Tampere,Toronto,"
            "Tunis,Turin,Utrecht,Valencia,Vienna,Zagreb,Zurich"
        ),
        "colour": (
            "Amber,Azure,Black,Blue,Copper,Crimson,Emerald,Golden,Green,Grey,Indigo,Ivory,Jade,Red,Scarlet,"
            "Silver,Violet,White"
        ),
        "thing": (
            "Anchor,Arrow,Bell,Bridge,Candle,Clock,Compass,Crown,Dragon,Falcon,Feather,Flame,Forest,Garden,"
            "Harbour,Horizon,Island,Key,Lantern,Letter,Lion,Mirror,Moon,Mountain,Nest,Ocean,Orchid,Rain,"
            "River,Road,Rose,Shadow,Sparrow,Star,Stone,Storm,Summer,Tide,Tiger,Tower,Valley,Voyage,Whale,"
            "Window,Winter,Wolf"
        ),
        "epithet": (
            "Bitter,Bright,Broken,Burning,Distant,Empty,Endless,Fallen,First,Forgotten,Frozen,Hidden,"
            "Hollow,Last,Little,Lonely,Lost,Midnight,Northern,Paper,Quiet,Restless,Secret,Silent,Sleeping,"
            "Southern,Stolen,Sunken,Wandering,Wild"
        ),
        "firm": (
            "Acorn,Apex,Arbor,Atlas,Aurora,Beacon,Cobalt,Condor,Delta,Drift,Ember,Everest,Fjord,Fulcrum,"
            "Harvest,Helix,Ibex,Keystone,Lumen,Lynx,Meridian,Nimbus,Nova,Onyx,Orbit,Osprey,Pinnacle,Polar,"
            "Prism,Quartz,Ridgeline,Sierra,Solstice,Summit,Tamarind,Tempo,Trident,Vertex,Vega,Zenith"
        ),
        "saint": (
            "St Agnes,St Andrew,St Brigid,St Clare,St Columba,St David,St Elmo,St Francis,St George,"
            "St Helena,St Hilda,St James,St Joseph,St Jude,St Luke,St Mark,St Martin,St Mary,St Monica,"
            "St Nicholas,St Olaf,St Patrick,St Paul,St Peter,St Stephen,St Thomas,St Ursula,St Vincent"
        ),
        "letter": "A,B,C,D,E,F,G,H,J,K,L,M,N,P,R,S,T,V,W,X",
    }.items()
}
